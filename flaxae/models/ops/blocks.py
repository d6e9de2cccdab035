"""Kernels for phase space, in which the four pixels of each 2x2 block are stored as channels.

The channels are ordered [row, column, feature].
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def phase_kernel(
    kernel: Float[Array, "3 3 channels features"], odd: tuple[int, int] = (0, 0)
) -> Float[Array, "2 2 channels 4*features"]:
    """Rearranges the kernel of a stride-2 transposed convolution into a 2x2 convolution kernel.

    The convolution returns the result in phase space. Along each axis, output pixel 2i is
    x[i - 1] * kernel[0] + x[i] * kernel[2], and output pixel 2i + 1 is x[i] * kernel[1]. Where
    `odd` is 1, the blocks along that axis are the pixels 2i - 1 and 2i instead of 2i and 2i + 1.
    """
    _, _, channels, features = kernel.shape
    padded = jnp.pad(kernel, (*((1 - each, each) for each in odd), (0, 0), (0, 0)))
    # Each axis holds 0 k0 k1 k2. Even output pixels use k0 and k2, odd ones use 0 and k1. Where
    # blocks begin with odd pixels, it holds k0 k1 k2 0: odd ones use k1 and 0, even k0 and k2.
    taps = padded.reshape(2, 2, 2, 2, channels, features)[:, ::-1, :, ::-1]
    return taps.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * features)


def block_kernel(
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "4*channels 16*features"]:
    """Rearranges the kernel of a stride-1 transposed convolution into a matrix for 2x2 blocks.

    The matrix maps the four pixels of a block to the 4x4 pixels around it. Its entry from pixel
    (r, c) of the block to pixel (i, j) of the 4x4 is kernel[r + 2 - i, c + 2 - j], or zero outside
    the kernel. The 16 output pixels are ordered as four blocks of 2x2.
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


def fold_kernel(
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "2 2 4*channels 4*features"]:
    """Rearranges the kernel of a stride-1 transposed convolution for phase space, both ways.

    Pixel r of the result's block i is the sum over three neighbors, the pixels r to r + 2 of the
    four in its blocks i and i + 1.
    """
    _, _, channels, features = kernel.shape
    pixels = [
        jnp.pad(kernel, ((row, 1 - row), (column, 1 - column), (0, 0), (0, 0)))
        .reshape(2, 2, 2, 2, channels, features)
        .transpose(0, 2, 1, 3, 4, 5)
        for row in range(2)
        for column in range(2)
    ]
    return jnp.stack(pixels, axis=5).reshape(2, 2, 4 * channels, 4 * features)


def interleave(
    phases: Float[Array, "batch height width _"],
) -> Float[Array, "batch 2*height 2*width _"]:
    """Converts phase space, 4*channels per block, to an image of twice the height and width."""
    batch, height, width, channels = phases.shape
    blocks = phases.reshape(batch, height, width, 2, 2, channels // 4)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)
