"""The training objective, one number an example."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def reconstruction_loss(
    logits: Float[Array, "batch height width channels"],
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch"]:
    """Sigmoid cross-entropy of logits and pixels in 0..1: each image's mean, in nats a pixel."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, images), axis=(1, 2, 3))
