"""The objectives: each example's loss, and what else is measured of it while training."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from flaxae.objectives.ssim import structural_similarity

Images = Float[Array, "batch height width channels"]
Values = Float[Array, " batch"]


def bce(logits: Images, images: Images, extras: Mapping[str, Values]) -> dict[str, Values]:
    """Sigmoid cross-entropy of logits and pixels in 0..1, in nats a pixel."""
    return with_extras(sigmoid_cross_entropy(logits, images), extras)


def mse(logits: Images, images: Images, extras: Mapping[str, Values]) -> dict[str, Values]:
    """Squared error of the reconstruction, pixels in 0..1."""
    return with_extras(_pixel_mean((jax.nn.sigmoid(logits) - images) ** 2), extras)


def l1(logits: Images, images: Images, extras: Mapping[str, Values]) -> dict[str, Values]:
    """Absolute error of the reconstruction, pixels in 0..1."""
    return with_extras(_pixel_mean(jnp.abs(jax.nn.sigmoid(logits) - images)), extras)


def with_extras(loss: Values, extras: Mapping[str, Values]) -> dict[str, Values]:
    """`loss` plus those extras whose names end in "_loss"; all extras are reported too."""
    return {"loss": sum((v for k, v in extras.items() if k.endswith("_loss")), loss), **extras}


def ssim_part(logits: Images, images: Images, weight: float) -> dict[str, Values]:
    """The extra "ssim_loss": `weight` times 1 - SSIM; nothing if the weight is 0.

    To rounding, 1 - SSIM is 0 for equal images, and at most 2.
    """
    if weight == 0:
        return {}
    return {"ssim_loss": weight * (1 - structural_similarity(jax.nn.sigmoid(logits), images))}


def sigmoid_cross_entropy(logits: Images, images: Images) -> Values:
    """-x log(p) - (1 - x) log(1 - p) for p = sigmoid(logit), as each image's mean over pixels."""
    return _pixel_mean(_softplus(logits) - logits * images)


def _pixel_mean(losses: Images) -> Values:
    """Each image's mean, as a product with a constant.

    XLA:CPU fuses a sum with its arguments into a library that computes logarithms slowly
    (benchmarks/attempts.md). On a GPU, XLA turns the product into a sum again.
    """
    flat = losses.reshape(len(losses), -1)
    weights = jnp.full(flat.shape[1], 1 / flat.shape[1], flat.dtype)
    return jnp.dot(flat, weights, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def _softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)) without overflow.

    The logarithm rounds to 0 from |x| = 17 on. `log1p` would keep its last digits, but is slower.
    The derivative is given by hand, because that of |x| is wrong at 0.
    """
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


_softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))
