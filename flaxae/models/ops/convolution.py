"""Convolutions, with gradients, in the dimension orders and shapes that are fast on XLA:CPU."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from flaxae.models.ops.blocks import interleave, phase_kernel
from flaxae.models.ops.plain import Kernel, Pixels

Pads = tuple[tuple[int, int], tuple[int, int]]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: Pixels, kernel: Kernel, stride: int, pads: Pads) -> Pixels:
    """Convolution whose gradients are computed by NHWC convolutions.

    Automatic differentiation would order the dimensions differently, which is very slow on XLA:CPU.
    XLA:CPU reorders them itself, but not inside loops such as `lax.scan` (jax-ml/jax#12868).
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
    if stride == 2:  # a transposed convolution, cropped by the padding in front
        full = interleave(convolution(g, phase_kernel(flipped), 1, ((1, 0), (1, 0))))
        x_grad = full[:, top : top + x.shape[1], left : left + x.shape[2]]
    else:
        x_grad = convolution(g, flipped, 1, rest)
    # The kernel's gradient sums over images and pixels. It is computed as a convolution that has
    # the batch as its channels. One operand takes the place of the images and the other of the
    # kernel. The one with fewer channels takes that of the images, because this is faster: x, or g
    # with the result flipped.
    if stride == 1 and x.shape[3] > g.shape[3]:
        turned = _batch_convolution(g, x, rest, 1)
        return x_grad, turned[:, ::-1, ::-1].transpose(1, 2, 3, 0)
    return x_grad, _batch_convolution(x, g, pads, stride).transpose(1, 2, 0, 3)


convolve.defvjp(_convolve_forward, _convolve_backward)


def convolution(x: Pixels, kernel: Kernel, stride: int, pads: Pads) -> Pixels:
    """Convolution without a custom gradient.

    With stride 1 and at most 16 channels, two or four neighboring output columns are computed as
    channels of one convolution. This pads each row of the kernel with zeros, but it is faster:
    the matrix products get a better shape, and XLA:CPU passes only convolutions with more than 16
    channels to its fastest library. `benchmarks/attempts.md` has the figures.
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
    """Convolves x with g, which takes the place of the kernel, and sums over the batch.

    The channels of x take the place of the batch, and the batch that of the channels.
    """
    images, kernel = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    return _nhwc_convolution(images, kernel, (1, 1), pads, rhs_dilation=(dilation, dilation))


def _nhwc_convolution(
    x: Pixels, kernel: Kernel, strides: tuple[int, int], pads: Pads, **dilation
) -> Pixels:
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), **dilation
    )


def same_convolution(x: Pixels, kernel: Kernel, stride: int) -> Pixels:
    """Calls `convolve` with SAME padding."""
    pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), "SAME")
    return convolve(x, kernel, stride, tuple(pads))
