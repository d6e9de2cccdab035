"""What is done to a model's input, but not to its target."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

Images = Float[Array, "batch height width channels"]


def add_noise(
    images: Images,
    rows: Int[Array | np.ndarray, " batch"],
    key: Key[Array, ""],
    noise_factor: float,
) -> Images:
    """clip(images + noise_factor * N(0, 1), 0, 1).

    An example's noise depends only on `key` and its row in the split, and not on its batch.
    """
    if noise_factor == 0:
        return images
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)
    noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
    return jnp.clip(images + noise_factor * noise, 0, 1)
