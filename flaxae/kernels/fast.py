"""The operations of `plain.py` in the forms that XLA:CPU runs fast: the same sums in another order.

All work is done in NHWC, the one order for which XLA:CPU has fast convolutions. NCHW is transposed
at the edges of each operation, and XLA cancels the pairs between consecutive layers. Times are CPU
milliseconds for 256 images in micro-batches of 32 (AMD EPYC, jax 0.10.2).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from flaxae.kernels import plain
from flaxae.kernels.plain import ACTIVATIONS, Bias, Images, Kernel, Layout, center_crop

# These never fall, so they commute with the maximum: max(f(a), f(b)) = f(max(a, b)). GELU falls
# below -0.75.
MONOTONE = frozenset({"relu", "elu", "leaky_relu", "tanh", "identity"})

Pixels = Float[Array, "batch _ _ _"]  # NHWC
Pads = tuple[tuple[int, int], tuple[int, int]]

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
    if stride == 1:  # it is a convolution
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
    out_bias: Float[Array, "outputs"],
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


# Convolutions with gradients written by hand


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: Pixels, kernel: Kernel, stride: int, pads: Pads) -> Pixels:
    """Convolution whose gradients are written as NHWC convolutions.

    Those that automatic differentiation writes have their dimensions in another order, which
    XLA:CPU mends only outside loops: within `lax.scan` they take 5 to 40 times as long
    (jax-ml/jax#12868).
    """
    return convolution(x, kernel, stride, pads)


def _convolve_forward(
    x: Pixels, kernel: Kernel, stride: int, pads: Pads
) -> tuple[Pixels, tuple[Pixels, Kernel]]:
    return convolution(x, kernel, stride, pads), (x, kernel)


def _convolve_backward(
    stride: int, pads: Pads, saved: tuple[Pixels, Kernel], g: Pixels
) -> tuple[Pixels, Kernel]:
    x, kernel = saved
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    if stride == 2:  # a transposed convolution, less the rows and columns padded in front
        full = interleave(convolution(g, phase_kernel(flipped), 1, ((1, 0), (1, 0))))
        (top, _), (left, _) = pads
        x_grad = full[:, top : top + x.shape[1], left : left + x.shape[2]]
    else:
        rest = [
            (n - 1 - low, n - 1 - high)
            for n, (low, high) in zip(kernel.shape[:2], pads, strict=True)
        ]
        x_grad = convolution(g, flipped, 1, tuple(rest))
    # The sum over images and pixels is a convolution with the batch in the place of the channels.
    by_channel = _dilated_convolution(
        x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), pads, stride
    )
    return x_grad, by_channel.transpose(1, 2, 0, 3)


convolve.defvjp(_convolve_forward, _convolve_backward)


def convolution(x: Pixels, kernel: Kernel, stride: int, pads: Pads) -> Pixels:
    """The sums themselves, where it pays with two neighboring output columns as channels.

    That is a zero more in each row of the kernel, but a better-shaped product (16 to 16 channels:
    30 -> 18 ms, 1 to 16: 21 -> 4).
    """
    _, width, channels, features = kernel.shape
    strides = (stride, stride)
    columns = x.shape[2] + sum(pads[1]) - width + 1
    if stride > 1 or columns % 2 or width < 3 or max(channels, features) > 16:
        return _nhwc_convolution(x, kernel, strides, pads)
    left, right = (jnp.pad(kernel, ((0, 0), side, (0, 0), (0, 0))) for side in ((0, 1), (1, 0)))
    y = _nhwc_convolution(x, jnp.concatenate([left, right], axis=3), (1, 2), pads)
    return y.reshape(*y.shape[:2], columns, features)


def _dilated_convolution(x: Pixels, kernel: Kernel, pads: Pads, dilation: int) -> Pixels:
    return _nhwc_convolution(x, kernel, (1, 1), pads, rhs_dilation=(dilation, dilation))


def _nhwc_convolution(
    x: Pixels, kernel: Kernel, strides: tuple[int, int], pads: Pads, **dilation
) -> Pixels:
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), **dilation
    )


def same_convolution(x: Pixels, kernel: Kernel, stride: int) -> Pixels:
    """`convolve` with SAME padding."""
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), "SAME")
    return convolve(x, kernel, stride, tuple(pads))


# Transposed convolutions in phase space: the four pixels of each 2x2 block as channels, ordered
# [row, column, feature].


def upsample_phases(x: Pixels, kernel: Kernel) -> Float[Array, "batch _ _ 4*features"]:
    """Transposed convolution with stride 2 as one 2x2 convolution to the four phases of the result.

    Dilating x with zeros, the definition, misses XLA:CPU's fast convolutions.
    """
    return convolve(x, phase_kernel(kernel), 1, ((1, 0), (1, 0)))


def phase_kernel(
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "2 2 channels 4*features"]:
    """Per axis, pixel 2i sums x[i - 1] kernel[0] + x[i] kernel[2]; 2i + 1 is x[i] kernel[1]."""
    _, _, channels, features = kernel.shape
    padded = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    # Per axis 0 k0 k1 k2, of which the odd pixels get the even taps.
    taps = padded.reshape(2, 2, 2, 2, channels, features)[:, ::-1, :, ::-1]
    return taps.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * features)


def fold_phases(
    phases: Float[Array, "batch height width _"],
    kernel: Float[Array, "3 3 channels features"],
) -> Float[Array, "batch 2*height+2 2*width+2 features"]:
    """Stride-1 transposed convolution from phases to pixels, with one pixel more on each side.

    A block of 2x2 pixels gives to the 4x4 pixels around it: all of that is one matrix product,
    whose results are added where blocks overlap.
    """
    features = kernel.shape[3]
    products = jnp.einsum("bhwc,cf->bhwf", phases, block_kernel(kernel))
    _, height, width, _ = phases.shape
    sums = jnp.zeros((len(phases), height + 1, width + 1, 4 * features), phases.dtype)
    for corner, (row, column) in zip(jnp.split(products, 4, axis=3), _CORNERS, strict=True):
        sums += jnp.pad(corner, ((0, 0), (row, 1 - row), (column, 1 - column), (0, 0)))
    return interleave(sums)


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


# The rest


def max_pool(x: Pixels) -> Pixels:
    """2x2 max pooling as pairwise maxima, whose gradient is a choice between two.

    That of `reduce_window` is a search (28x28x16: 36 -> 9 ms). Ties share the gradient here;
    `reduce_window` gives it to the first.
    """
    x = jnp.pad(
        x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf
    )
    top = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    bottom = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(top, bottom)


def _bias_and_activation(y: Pixels, bias: Bias, activation: str) -> Pixels:
    return ACTIVATIONS[activation](y + plain.per_channel(bias, "NHWC"))


def _to_nhwc(x: Images, layout: Layout) -> Pixels:
    return x if layout == "NHWC" else x.transpose(0, 2, 3, 1)


def _from_nhwc(x: Pixels, layout: Layout) -> Images:
    return x if layout == "NHWC" else x.transpose(0, 3, 1, 2)
