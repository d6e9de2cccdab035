"""The operations of `plain.py` in the forms that XLA:CPU runs fast: the same sums in another order.

All work is done in NHWC, the one order for which XLA:CPU has fast convolutions; NCHW is transposed
at the edges of each operation. Times are CPU milliseconds for 256 images in micro-batches of 32 (an
AMD EPYC, jax 0.10.2); `benchmarks/attempts.md` has more of them, and what did not help.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxae.models.ops import plain
from flaxae.models.ops.blocks import block_kernel, interleave, phase_kernel
from flaxae.models.ops.convolution import Pixels, convolve, same_convolution
from flaxae.models.ops.plain import ACTIVATIONS, Bias, Images, Kernel, Layout, center_crop

# These never fall, so they commute with the maximum: max(f(a), f(b)) = f(max(a, b)). GELU falls
# below -0.75.
MONOTONE = frozenset({"relu", "elu", "leaky_relu", "tanh", "identity"})

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def conv(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int = 1, activation: str, layout: Layout
) -> Images:
    """`plain.conv`: see `convolve`."""
    if stride > 1 and (stride, *kernel.shape[:2]) != (2, 3, 3):
        return plain.conv(x, kernel, bias, stride=stride, activation=activation, layout=layout)
    y = same_convolution(_to_nhwc(x, layout), kernel, stride)
    return _from_nhwc(_bias_and_activation(y, bias, activation), layout)


def conv_max_pool(
    x: Images, kernel: Kernel, bias: Bias, *, activation: str, layout: Layout
) -> Images:
    """`plain.conv_max_pool`, pooled before bias and activation where that is the same.

    A quarter of the elements is left for them.
    """
    y = same_convolution(_to_nhwc(x, layout), kernel, stride=1)
    if activation in MONOTONE:
        y = _bias_and_activation(max_pool(y), bias, activation)
    else:
        y = max_pool(_bias_and_activation(y, bias, activation))
    return _from_nhwc(y, layout)


def conv_transpose(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int, activation: str, layout: Layout
) -> Images:
    """`plain.conv_transpose`: see `upsample_phases`."""
    if stride == 1 and all(size % 2 for size in kernel.shape[:2]):  # it is a convolution
        return conv(x, kernel, bias, activation=activation, layout=layout)
    if (stride, *kernel.shape[:2]) != (2, 3, 3):
        return plain.conv_transpose(
            x, kernel, bias, stride=stride, activation=activation, layout=layout
        )
    phases = upsample_phases(_to_nhwc(x, layout), kernel)
    return _from_nhwc(
        interleave(_bias_and_activation(phases, jnp.tile(bias, 4), activation)), layout
    )


def upsample_head(
    x: Images,
    up_kernel: Kernel,
    up_bias: Bias,
    out_kernel: Float[Array, "_ _ features outputs"],
    out_bias: Float[Array, " outputs"],
    *,
    activation: str,
    size: tuple[int, int],
    layout: Layout,
) -> Images:
    """`plain.upsample_head` in phase space: only the images are interleaved (see `fold_phases`)."""
    if (up_kernel.shape[:2], out_kernel.shape[:2]) != ((3, 3), (3, 3)):
        parameters = (up_kernel, up_bias, out_kernel, out_bias)
        return plain.upsample_head(x, *parameters, activation=activation, size=size, layout=layout)
    phases = upsample_phases(_to_nhwc(x, layout), up_kernel)
    phases = _bias_and_activation(phases, jnp.tile(up_bias, 4), activation)
    y = center_crop(fold_phases(phases, out_kernel), size, "NHWC")
    return _from_nhwc(_bias_and_activation(y, out_bias, "identity"), layout)


# Transposed convolutions in phase space: the four pixels of each 2x2 block as channels, ordered
# [row, column, feature].


def upsample_phases(x: Pixels, kernel: Kernel) -> Float[Array, "batch _ _ 4*features"]:
    """Transposed convolution with stride 2 as one 2x2 convolution to the four phases of the result.

    Dilating x with zeros, the definition, misses XLA:CPU's fast convolutions.
    """
    return convolve(x, phase_kernel(kernel), 1, ((1, 0), (1, 0)))


def fold_phases(
    phases: Float[Array, "batch height width _"],
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "batch 2*height+2 2*width+2 features"]:
    """Stride-1 transposed convolution from phases to pixels, with one pixel more on each side.

    A block of 2x2 pixels gives to the 4x4 pixels around it: all of that is one matrix product,
    whose results are added where blocks overlap (as a 2x2 convolution: 100 -> 18 ms).
    """
    features = kernel.shape[3]
    products = pixelwise_product(phases, block_kernel(kernel))
    _, height, width, _ = phases.shape
    sums = jnp.zeros((len(phases), height + 1, width + 1, 4 * features), phases.dtype)
    for corner, (row, column) in zip(jnp.split(products, 4, axis=3), _CORNERS, strict=True):
        sums += jnp.pad(corner, ((0, 0), (row, 1 - row), (column, 1 - column), (0, 0)))
    return interleave(sums)


@jax.custom_vjp
def pixelwise_product(
    x: Float[Array, "batch height width channels"], matrix: Float[Array, "channels features"]
) -> Float[Array, "batch height width features"]:
    """A matrix product at each pixel, whose gradients are taken image by image.

    In one product over all images XLA:CPU would have to transpose an operand, which it does slowly
    (64 x 16: 5.9 -> 2 ms); and x is one array in both directions, not two (2 ms more).
    """
    return _pixelwise_forward(x, matrix)[0]


def _pixelwise_forward(x: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    pixels = x.reshape(len(x), -1, x.shape[3])
    each = jnp.broadcast_to(matrix, (len(x), *matrix.shape))
    y = jnp.einsum("bpc,bcf->bpf", pixels, each)
    return y.reshape(*x.shape[:3], -1), (pixels, matrix)


def _pixelwise_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    pixels, matrix = saved
    flat = g.reshape(len(g), -1, g.shape[3])
    x_grad = jnp.einsum("bpf,cf->bpc", flat, matrix)
    matrix_grad = jnp.einsum("bpf,bpc->bfc", flat, pixels).sum(axis=0).T
    return x_grad.reshape(*g.shape[:3], -1), matrix_grad


pixelwise_product.defvjp(_pixelwise_forward, _pixelwise_backward)


# Pooling and small helpers


def max_pool(x: Pixels) -> Pixels:
    """2x2 max pooling as a maximum over blocks; see `block_maximum`."""
    x = jnp.pad(
        x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf
    )
    batch, height, width, channels = x.shape
    return block_maximum(x.reshape(batch, height // 2, 2, width // 2, 2, channels))


@jax.custom_vjp
def block_maximum(
    blocks: Float[Array, "batch height 2 width 2 channels"],
) -> Float[Array, "batch height width channels"]:
    """The maximum of each block, whose gradient compares with it.

    That of `reduce_window` is a search, and is stored pixel by pixel (28x28x16: 36 -> 5 ms). Ties
    share the gradient here; `reduce_window` gives it to the first. Both pass over NaN on a CPU.
    """
    return jnp.max(blocks, axis=(2, 4))


def _block_maximum_forward(blocks: Array) -> tuple[Array, tuple[Array, Array]]:
    y = block_maximum(blocks)
    return y, (blocks, y)


def _block_maximum_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    blocks, y = saved
    winners = blocks == y[:, :, None, :, None]
    ones = winners.astype(g.dtype)
    count = ones[:, :, 0, :, 0] + ones[:, :, 0, :, 1] + ones[:, :, 1, :, 0] + ones[:, :, 1, :, 1]
    return (jnp.where(winners, (g / count)[:, :, None, :, None], 0),)


block_maximum.defvjp(_block_maximum_forward, _block_maximum_backward)


def _bias_and_activation(y: Pixels, bias: Bias, activation: str) -> Pixels:
    return ACTIVATIONS[activation](y + plain.per_channel(bias, "NHWC"))


def _to_nhwc(x: Images, layout: Layout) -> Pixels:
    return x if layout == "NHWC" else x.transpose(0, 2, 3, 1)


def _from_nhwc(x: Pixels, layout: Layout) -> Images:
    return x if layout == "NHWC" else x.transpose(0, 3, 1, 2)
