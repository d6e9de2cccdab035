"""2x2 blocks of pixels as channels, ordered [row, column, feature]; kernels made for them."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def phase_kernel(
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "2 2 channels 4*features"]:
    """Per axis, pixel 2i sums x[i - 1] kernel[0] + x[i] kernel[2]; 2i + 1 is x[i] kernel[1]."""
    _, _, channels, features = kernel.shape
    padded = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    # Per axis 0 k0 k1 k2, of which the odd pixels get the even taps.
    taps = padded.reshape(2, 2, 2, 2, channels, features)[:, ::-1, :, ::-1]
    return taps.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * features)


def block_kernel(
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "4*channels 16*features"]:
    """From pixel (r, c) of a block to pixel (i, j) of the 4x4 around it, or zero.

    That is kernel[r + 2 - i, c + 2 - j]; the 16 are ordered as four blocks of 2x2.
    """
    _, _, channels, features = kernel.shape
    flipped = kernel[::-1, ::-1]
    rows = [
        jnp.pad(flipped, ((r, 1 - r), (c, 1 - c), (0, 0), (0, 0))).reshape(
            2, 2, 2, 2, channels, features
        )
        for r in range(2)
        for c in range(2)
    ]
    return jnp.stack(rows).transpose(0, 5, 1, 3, 2, 4, 6).reshape(4 * channels, 16 * features)


def interleave(
    phases: Float[Array, "batch height width _"],
) -> Float[Array, "batch 2*height 2*width _"]:
    """The pixels in their places."""
    batch, height, width, channels = phases.shape
    blocks = phases.reshape(batch, height, width, 2, 2, channels // 4)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)
