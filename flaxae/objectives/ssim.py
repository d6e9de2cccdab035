"""Structural similarity (Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861)."""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Images = Float[Array, "batch height width channels"]

_WINDOW = 7  # pixels of a side; smaller images take the largest odd window that fits
_C1, _C2 = 0.01**2, 0.03**2  # for pixels in 0..1


def structural_similarity(reconstructions: Images, images: Images) -> Float[Array, " batch"]:
    """Each image's SSIM, at most 1, for pixels in 0..1.

    Local means and sample covariances are those of square windows that lie inside the image; the
    result is their mean over pixels and channels, as scikit-image computes it.
    """
    side = min(_WINDOW, *images.shape[1:3])
    side -= 1 - side % 2
    mean = partial(_window_mean, side=side)
    x, y = reconstructions.astype(jnp.float32), images.astype(jnp.float32)
    mean_x, mean_y = mean(x), mean(y)
    sample = side**2 / max(side**2 - 1, 1)  # covariances of a sample, not of a population
    variance_x = sample * (mean(x * x) - mean_x**2)
    variance_y = sample * (mean(y * y) - mean_y**2)
    covariance = sample * (mean(x * y) - mean_x * mean_y)
    above = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    below = (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    return jnp.mean(above / below, axis=(1, 2, 3))


def _window_mean(x: Images, side: int) -> Float[Array, "batch _ _ channels"]:
    """Means over square windows: sums over columns, then over rows, which is 14 terms, not 49."""
    for window in ((1, side, 1, 1), (1, 1, side, 1)):
        x = lax.reduce_window(x, 0.0, lax.add, window, (1, 1, 1, 1), "VALID")
    return x / side**2
