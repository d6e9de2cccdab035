"""The four operations of the convolutional model as anyone would write them with `jax.lax`: the meaning that `fast.py` has to reproduce.

Kernels are HWIO in both layouts, so that one checkpoint serves both; `layout` is that of `x` and of the result. Arrays come in the
compute dtype, float32 or bfloat16.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Layout = Literal["NHWC", "NCHW"]
Images = Float[Array, "batch height width channels"] | Float[Array, "batch channels height width"]
Kernel = Float[Array, "kernel_height kernel_width channels features"]
Bias = Float[Array, "features"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
}


def conv(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int = 1, activation: str, layout: Layout
) -> Images:
    """Convolution with SAME padding, bias and activation: height and width become ceil(size / stride)."""
    y = lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=(layout, "HWIO", layout)
    )
    return ACTIVATIONS[activation](y + per_channel(bias, layout))


def conv_max_pool(
    x: Images, kernel: Kernel, bias: Bias, *, activation: str, layout: Layout
) -> Images:
    """`conv` with stride 1, then 2x2 max pooling with stride 2: height and width become ceil(size / 2)."""
    return max_pool(conv(x, kernel, bias, activation=activation, layout=layout), layout=layout)


def max_pool(x: Images, *, layout: Layout) -> Images:
    """2x2 max pooling with stride 2: height and width become ceil(size / 2)."""
    window = (1, 2, 2, 1) if layout == "NHWC" else (1, 1, 2, 2)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "SAME")


def conv_transpose(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int, activation: str, layout: Layout
) -> Images:
    """Transposed convolution with SAME padding, bias and activation: height and width become size * stride."""
    y = lax.conv_transpose(
        x, kernel, (stride, stride), "SAME", dimension_numbers=(layout, "HWIO", layout)
    )
    return ACTIVATIONS[activation](y + per_channel(bias, layout))


def upsample_head(
    x: Images,
    up_kernel: Kernel,
    up_bias: Bias,
    out_kernel: Kernel,
    out_bias: Bias,
    *,
    activation: str,
    size: tuple[int, int],
    layout: Layout,
) -> Images:
    """The decoder's end: transposed convolution with stride 2, one with stride 1 and no activation, centered crop to `size`."""
    y = conv_transpose(x, up_kernel, up_bias, stride=2, activation=activation, layout=layout)
    y = conv_transpose(y, out_kernel, out_bias, stride=1, activation="identity", layout=layout)
    return center_crop(y, size, layout)


def per_channel(bias: Bias, layout: Layout) -> Float[Array, "..."]:
    """The bias in a shape that broadcasts against images without rank promotion."""
    return bias[None, None, None, :] if layout == "NHWC" else bias[None, :, None, None]


def center_crop(x: Images, size: tuple[int, int], layout: Layout) -> Images:
    """The central `size` = (height, width) of images; an odd surplus loses its larger half at the end."""
    first = layout.index("H")
    for axis, length in zip((first, first + 1), size):
        start = (x.shape[axis] - length) // 2
        x = lax.slice_in_dim(x, start, start + length, axis=axis)
    return x
