"""Means over a split: sums over examples with a mask, divided once at the end.

The result is the same for any batch size and any number of devices.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Images = Float[Array, "batch height width channels"]
Sums = dict[str, Any]  # name -> sum over examples; "examples" is their number


def mean_squared_error(reconstructions: Images, images: Images) -> Float[Array, " batch"]:
    """Each image's mean over its pixels, in units of the pixel range 0..1, squared."""
    return jnp.mean((reconstructions - images) ** 2, axis=(1, 2, 3))


def masked_sums(
    values: Mapping[str, Float[Array, " batch"]], mask: Bool[Array | np.ndarray, " batch"]
) -> Sums:
    """The sum of each value over the examples for which `mask` holds, and their number."""
    sums = {name: jnp.sum(jnp.where(mask, value, 0)) for name, value in values.items()}
    return sums | {"examples": jnp.sum(mask, dtype=jnp.float32)}


def add(total: Mapping[str, float], part: Sums) -> dict[str, float]:
    """Adds in Python's double precision, so that many batches lose nothing."""
    return {name: total.get(name, 0.0) + float(value) for name, value in part.items()}


def means(sums: Mapping[str, float]) -> dict[str, Any]:
    """Divides by the number of examples, and adds the quantities in `DERIVED`."""
    count = sums["examples"]
    values = {name: value / count for name, value in sums.items() if name != "examples"}
    derived = {name: f(values[base]) for name, (base, f) in DERIVED.items() if base in values}
    return {**values, **derived, "examples": round(count)}


def _psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB, of the split's mean squared error."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


# Name -> the mean that it follows from, and how.
DERIVED: dict[str, tuple[str, Callable[[float], float]]] = {
    "rmse": ("mse", math.sqrt),
    "psnr": ("mse", _psnr),
}
