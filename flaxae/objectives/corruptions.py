"""What is done to a model's input, but not to its target.

An example's corruption depends only on the step's key and on the example's row in the split, and
not on its batch. So a division of the batch changes nothing, and neither does a resumed run.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Int, Key

from flaxae.objectives import CORRUPTIONS, ObjectiveConfig, find

Images = Float[Array, "batch height width channels"]
Image = Float[Array, "height width channels"]
Rows = Int[Array | np.ndarray, " batch"]
Rng = Key[Array, ""]


def corrupt(images: Images, rows: Rows, key: Rng, config: ObjectiveConfig) -> Images:
    """The input of a training step: every corruption of `config.corrupt` in order, then noise."""
    for name in config.corrupt:
        # From the end of the numbers, because rows are folded into the same key for noise.
        own = jax.random.fold_in(key, 2**32 - 1 - list(CORRUPTIONS).index(name))
        images = jax.vmap(partial(find(CORRUPTIONS, name), config))(images, _keys(own, rows))
    return add_noise(images, rows, key, config.noise_factor)


def add_noise(images: Images, rows: Rows, key: Rng, noise_factor: float) -> Images:
    """clip(images + noise_factor * N(0, 1), 0, 1)."""
    if noise_factor == 0:
        return images
    noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(_keys(key, rows))
    return jnp.clip(images + noise_factor * noise, 0, 1)


def affine(config: ObjectiveConfig, image: Image, key: Rng) -> Image:
    """Turns, shears, scales and moves an image; what comes from outside repeats its edge.

    Each amount is uniform between minus and plus its largest value. Pixels are interpolated
    bilinearly.
    """
    height, width, channels = image.shape
    turn, shear, scale, *move = jax.random.uniform(key, (5,), minval=-1, maxval=1)
    turn, shear = turn * np.deg2rad(config.rotation), shear * np.deg2rad(config.shear)
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    # From positions in the result to positions in the image, around the center.
    matrix = jnp.array([[cosine, -sine], [sine, cosine]]) @ jnp.array([[1, jnp.tan(shear)], [0, 1]])
    matrix = matrix / (1 + scale * config.scaling)
    center = jnp.array([(height - 1) / 2, (width - 1) / 2])[:, None]
    offset = jnp.array([*move])[:, None] * config.translation * jnp.array([[height], [width]])
    grid = jnp.indices((height, width), dtype=jnp.float32).reshape(2, -1)
    y, x = matrix @ (grid - center) + center - offset
    values = [
        map_coordinates(image[..., c], [y, x], order=1, mode="nearest") for c in range(channels)
    ]
    # Interpolation rounds, and may leave the range by that.
    result = jnp.stack(values, axis=-1).reshape(image.shape)
    return jnp.clip(result, image.min(), image.max())


def shift(config: ObjectiveConfig, image: Image, key: Rng) -> Image:
    """Moves an image by whole pixels; what comes from outside repeats its edge."""
    most = [round(config.translation * side) for side in image.shape[:2]]
    padded = jnp.pad(image, [(m, m) for m in most] + [(0, 0)], mode="edge")
    y, x = jax.random.randint(key, (2,), 0, jnp.array([2 * m + 1 for m in most]))
    return jax.lax.dynamic_slice(padded, (y, x, jnp.zeros_like(y)), image.shape)


def mask(config: ObjectiveConfig, image: Image, key: Rng) -> Image:
    """Blackens a rectangle at a random place, wholly inside the image."""
    height, width, _ = image.shape
    sizes = jnp.array([max(1, round(config.mask_size * side)) for side in (height, width)])
    top, left = jax.random.randint(key, (2,), 0, jnp.array([height, width]) - sizes + 1)
    rows, columns = jnp.arange(height) - top, jnp.arange(width) - left
    inside_rows = ((rows >= 0) & (rows < sizes[0]))[:, None]
    inside = inside_rows & ((columns >= 0) & (columns < sizes[1]))[None]
    return jnp.where(inside[..., None], 0.0, image)


def _keys(key: Rng, rows: Rows) -> Key[Array, " batch"]:
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)
