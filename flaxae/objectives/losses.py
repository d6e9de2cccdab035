"""The training objective, one number an example."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def reconstruction_loss(
    logits: Float[Array, "batch height width channels"],
    images: Float[Array, "batch height width channels"],
) -> Float[Array, " batch"]:
    """Sigmoid cross-entropy of logits and pixels in 0..1: each image's mean, in nats a pixel.

    The mean is a product with a constant, because XLA:CPU takes a sum's arguments with it into a
    library that is slow at logarithms (with gradients, for 256 images: 6 -> 1 ms); on a GPU XLA
    makes it a sum again.
    """
    losses = _softplus(logits) - logits * images
    flat = losses.reshape(len(losses), -1)
    weights = jnp.full(flat.shape[1], 1 / flat.shape[1], flat.dtype)
    return jnp.dot(flat, weights, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def _softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)) without overflow.

    From |x| = 17 on the logarithm is 0; log1p would keep its last digits, in four times the time.

    The derivative is given, because that of |x| errs at 0.
    """
    return jnp.maximum(x, 0) + jnp.log(1 + jnp.exp(-jnp.abs(x)))


_softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))
