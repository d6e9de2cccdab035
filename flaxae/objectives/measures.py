"""Reconstruction quality as sums, divided once at the end: exact for any batch size."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from flaxae.objectives.losses import reconstruction_loss


class Sums(NamedTuple):
    """What a batch, or a whole split, adds up to."""

    loss: Float[Array, ""] | float  # of each example's mean over its pixels, in nats
    squared_error: (
        Float[Array, ""] | float
    )  # of each example's mean over its pixels, pixels in 0..1
    examples: Float[Array, ""] | float


class Quality(NamedTuple):
    """Means over a split: loss in nats a pixel, errors in units of the pixel range 0..1."""

    loss: float
    mse: float
    rmse: float
    psnr: float  # dB, of the split's mean squared error
    examples: int


def reconstruction_sums(
    logits: Float[Array, "batch height width channels"],
    images: Float[Array, "batch height width channels"],
    mask: Bool[Array | np.ndarray, " batch"],
) -> Sums:
    """The sums over those examples of a batch for which `mask` holds."""
    errors = example_errors(logits, images)
    losses = reconstruction_loss(logits, images)
    return Sums(*(jnp.sum(jnp.where(mask, x, 0)) for x in (losses, errors, jnp.ones_like(errors))))


def example_errors(
    logits: Float[Array, "batch height width channels"],
    images: Float[Array, "batch height width channels"],
) -> Float[Array, " batch"]:
    """Each example's mean squared error over its pixels, in units of the pixel range 0..1."""
    return jnp.mean((jax.nn.sigmoid(logits) - images) ** 2, axis=(1, 2, 3))


def add(total: Sums, part: Sums) -> Sums:
    """Sums in Python's double precision, so that many batches lose nothing."""
    return Sums(*(t + float(p) for t, p in zip(total, part, strict=True)))


def quality(sums: Sums) -> Quality:
    """Divides, once."""
    loss, squared_error, examples = (float(value) for value in sums)
    mse = squared_error / examples
    psnr = -10 * math.log10(mse) if mse > 0 else math.inf
    return Quality(loss / examples, mse, math.sqrt(mse), psnr, round(examples))
