"""The operations of `plain.py`, optimized for XLA:CPU.

The results are those of `plain.py` up to rounding. Computation is in NHWC, because XLA:CPU has fast
convolutions for that layout only; each operation transposes NCHW arrays at its start and end.
`benchmarks/attempts.md` has the timings of these and other implementations.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxae.models.ops import plain
from flaxae.models.ops.blocks import block_kernel, interleave, phase_kernel
from flaxae.models.ops.convolution import convolve, same_convolution
from flaxae.models.ops.plain import (
    MONOTONE,
    Bias,
    Images,
    Kernel,
    Layout,
    Pixels,
    center_crop,
    from_nhwc,
    to_nhwc,
)

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def conv(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int = 1, activation: str, layout: Layout
) -> Images:
    """`plain.conv`, computed by `convolve` except for some strided convolutions."""
    if stride > 1 and (stride, *kernel.shape[:2]) != (2, 3, 3):
        return plain.conv(x, kernel, bias, stride=stride, activation=activation, layout=layout)
    y = same_convolution(to_nhwc(x, layout), kernel, stride)
    return from_nhwc(_bias_and_activation(y, bias, activation), layout)


def conv_max_pool(
    x: Images, kernel: Kernel, bias: Bias, *, activation: str, layout: Layout
) -> Images:
    """`plain.conv_max_pool`, which pools before bias and activation if the activation is monotone.

    The result is the same, and bias and activation process a quarter of the elements.
    """
    y = same_convolution(to_nhwc(x, layout), kernel, stride=1)
    if activation in MONOTONE:
        y = _bias_and_activation(max_pool(y), bias, activation)
    else:
        y = max_pool(_bias_and_activation(y, bias, activation))
    return from_nhwc(y, layout)


def conv_transpose(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int, activation: str, layout: Layout
) -> Images:
    """`plain.conv_transpose`, computed by `upsample_phases` for 3x3 kernels with stride 2."""
    if stride == 1 and all(size % 2 for size in kernel.shape[:2]):  # a convolution
        return conv(x, kernel, bias, activation=activation, layout=layout)
    if (stride, *kernel.shape[:2]) != (2, 3, 3):
        return plain.conv_transpose(
            x, kernel, bias, stride=stride, activation=activation, layout=layout
        )
    phases = upsample_phases(to_nhwc(x, layout), kernel)
    return from_nhwc(
        interleave(_bias_and_activation(phases, jnp.tile(bias, 4), activation)), layout
    )


def upsample_head(
    x: Images,
    up_kernel: Kernel,
    up_bias: Bias,
    out_kernel: Float[Array, "_ _ features outputs"],
    out_bias: Float[Array, "*rows outputs"],
    *,
    activation: str,
    size: tuple[int, int],
    layout: Layout,
) -> Images:
    """`plain.upsample_head`, computed in phase space for 3x3 kernels.

    The upsampled features stay in phase space; only the final images are interleaved.
    """
    if (up_kernel.shape[:2], out_kernel.shape[:2]) != ((3, 3), (3, 3)):
        parameters = (up_kernel, up_bias, out_kernel, out_bias)
        return plain.upsample_head(x, *parameters, activation=activation, size=size, layout=layout)
    phases = upsample_phases(to_nhwc(x, layout), up_kernel)
    phases = _bias_and_activation(phases, jnp.tile(up_bias, 4), activation)
    y = center_crop(fold_phases(phases, out_kernel), size, "NHWC")
    return from_nhwc(_bias_and_activation(y, out_bias, "identity"), layout)


# Transposed convolutions in phase space. It stores the four pixels of each 2x2 block as channels,
# ordered [row, column, feature].


def upsample_phases(x: Pixels, kernel: Kernel) -> Float[Array, "batch _ _ 4*features"]:
    """Transposed convolution with stride 2, computed as one 2x2 convolution into phase space.

    The definition, a convolution of x dilated with zeros, is slow on XLA:CPU.
    """
    return convolve(x, phase_kernel(kernel), 1, ((1, 0), (1, 0)))


def fold_phases(
    phases: Float[Array, "batch height width _"],
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "batch 2*height+2 2*width+2 features"]:
    """Stride-1 transposed convolution from phase space to pixels, with a border of one pixel.

    Each block of 2x2 pixels contributes to the 4x4 pixels around it. One matrix product computes
    all contributions, which are then added where they overlap. This is faster than a 2x2
    convolution.
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
    """Multiplies the channels of each pixel by `matrix`, as one batched product over the images.

    A single product over the pixels of all images would make XLA:CPU transpose an operand for the
    gradient of `matrix`, which is slow. The forward product is batched too, so that both passes
    read the same copy of x.
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
    """2x2 SAME max pooling with stride 2, computed by `block_maximum`."""
    x = jnp.pad(
        x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf
    )
    batch, height, width, channels = x.shape
    return block_maximum(x.reshape(batch, height // 2, 2, width // 2, 2, channels))


@jax.custom_vjp
def block_maximum(
    blocks: Float[Array, "batch height 2 width 2 channels"],
) -> Float[Array, "batch height width channels"]:
    """Maximum of each 2x2 block, with a gradient that compares the pixels with the maximum.

    This is faster on XLA:CPU than the gradient of `lax.reduce_window`, which searches each window
    and scatters the results. Pixels that share the maximum share the gradient equally, whereas
    `reduce_window` gives all of it to the first. Both ignore NaN on CPUs.
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


@jax.custom_vjp
def elu(x: Array) -> Array:
    """`jax.nn.elu` by `exp`, with a gradient that is computed from the result.

    XLA:CPU computes `expm1` slowly. Its advantage, more digits near 0, is below 1e-7 in float32.
    """
    return jnp.maximum(x, 0) + (jnp.exp(jnp.minimum(x, 0)) - 1)


def _elu_forward(x: Array) -> tuple[Array, Array]:
    y = elu(x)
    return y, y


def _elu_backward(y: Array, g: Array) -> tuple[Array]:
    return (g * (jnp.minimum(y, 0) + 1),)


elu.defvjp(_elu_forward, _elu_backward)

ACTIVATIONS = {**plain.ACTIVATIONS, "elu": elu}


def _bias_and_activation(y: Pixels, bias: Bias, activation: str) -> Pixels:
    return ACTIVATIONS[activation](plain.add_bias(y, bias, "NHWC"))
