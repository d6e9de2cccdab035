"""Convolutions in the orders and shapes that XLA:CPU runs fast, gradients included."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from flaxae.models.ops.blocks import interleave, phase_kernel
from flaxae.models.ops.plain import Kernel

Pixels = Float[Array, "batch _ _ _"]  # NHWC
Pads = tuple[tuple[int, int], tuple[int, int]]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: Pixels, kernel: Kernel, stride: int, pads: Pads) -> Pixels:
    """Convolution whose gradients are written as NHWC convolutions.

    Those that automatic differentiation writes have their dimensions in another order, which
    XLA:CPU mends only outside loops (jax-ml/jax#12868): 16 to 16 channels at 28x28 within
    `lax.scan` 1860 -> 68 ms.
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
    (top, bottom), (left, right) = pads
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    rest = ((rows - top, rows - bottom), (columns - left, columns - right))
    if stride == 2:  # a transposed convolution, less the rows and columns padded in front
        full = interleave(convolution(g, phase_kernel(flipped), 1, ((1, 0), (1, 0))))
        x_grad = full[:, top : top + x.shape[1], left : left + x.shape[2]]
    else:
        x_grad = convolution(g, flipped, 1, rest)
    # The sum over images and pixels is a convolution with the batch in the place of the channels.
    # What is stretched over the images is x or, turned around, g: the one with fewer channels.
    if stride == 1 and x.shape[3] > g.shape[3]:
        turned = _batch_convolution(g, x, rest, 1)
        return x_grad, turned[:, ::-1, ::-1].transpose(1, 2, 3, 0)
    return x_grad, _batch_convolution(x, g, pads, stride).transpose(1, 2, 0, 3)


convolve.defvjp(_convolve_forward, _convolve_backward)


def convolution(x: Pixels, kernel: Kernel, stride: int, pads: Pads) -> Pixels:
    """The sums themselves, where it pays with two or four neighboring output columns as channels.

    The kernel's rows get as many zeros as there are further columns, but the product a better shape
    (16 to 16 channels: 20 -> 15 ms, 1 to 16: 11 -> 2.5, 8 to 8 at 14x14: 3.4 -> 1.8), and XLA hands
    only convolutions to more than 16 channels to its fastest library.
    """
    _, width, channels, features = kernel.shape
    if stride > 1 or width < 3 or max(channels, features) > 16:
        return _nhwc_convolution(x, kernel, (stride, stride), pads)
    together = 2 if features > 8 else 4
    left, right = pads[1]
    columns = x.shape[2] + left + right - width + 1
    surplus = -columns % together
    places = [(place, together - 1 - place) for place in range(together)]
    kernels = [jnp.pad(kernel, ((0, 0), place, (0, 0), (0, 0))) for place in places]
    y = _nhwc_convolution(
        x, jnp.concatenate(kernels, axis=3), (1, together), (pads[0], (left, right + surplus))
    )
    return y.reshape(*y.shape[:2], columns + surplus, features)[:, :, :columns]


def _batch_convolution(
    x: Pixels, g: Pixels, pads: Pads, dilation: int
) -> Float[Array, "channels _ _ features"]:
    """x's channels as images, g as a kernel, the batch as channels: [channel of x, _, _, of g]."""
    images, kernel = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    return _nhwc_convolution(images, kernel, (1, 1), pads, rhs_dilation=(dilation, dilation))


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
