"""The convolutional layers' operations in plain `jax.lax`: the reference for `cpu.py` and `gpu.py`.

Kernels are HWIO in both layouts. `layout` is the layout of `x` and of the result. All arrays have
the dtype of the computation, float32 or bfloat16.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Layout = Literal["NHWC", "NCHW"]
Images = Float[Array, "batch _ _ _"]  # in the layout given by the argument `layout`
Pixels = Float[Array, "batch _ _ _"]  # NHWC
Kernel = Float[Array, "kernel_height kernel_width channels features"]
# One row, or several equal rows, whose number divides the batch: see `gpu.py`.
Bias = Float[Array, "*rows features"]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
}
# These functions never decrease, so max(f(a), f(b)) = f(max(a, b)). GELU decreases below -0.75.
MONOTONE = frozenset({"relu", "elu", "leaky_relu", "tanh", "identity"})


def conv(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int = 1, activation: str, layout: Layout
) -> Images:
    """SAME convolution, bias and activation. Height and width become ceil(size / stride)."""
    dimensions = (layout, "HWIO", layout)
    y = lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions)
    return ACTIVATIONS[activation](add_bias(y, bias, layout))


def conv_max_pool(
    x: Images, kernel: Kernel, bias: Bias, *, activation: str, layout: Layout
) -> Images:
    """`conv` with stride 1, then `max_pool`."""
    return max_pool(conv(x, kernel, bias, activation=activation, layout=layout), layout=layout)


def max_pool(x: Images, *, layout: Layout) -> Images:
    """2x2 SAME max pooling with stride 2. Height and width become ceil(size / 2)."""
    window = (1, 2, 2, 1) if layout == "NHWC" else (1, 1, 2, 2)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "SAME")


def conv_transpose(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int, activation: str, layout: Layout
) -> Images:
    """SAME transposed convolution, bias and activation. Height and width become size * stride."""
    dimensions = (layout, "HWIO", layout)
    y = lax.conv_transpose(x, kernel, (stride, stride), "SAME", dimension_numbers=dimensions)
    return ACTIVATIONS[activation](add_bias(y, bias, layout))


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
    """The decoder's last layers: two transposed convolutions, cropped to `size` = (height, width).

    The first has stride 2 and the activation, the second has stride 1 and no activation.
    """
    y = conv_transpose(x, up_kernel, up_bias, stride=2, activation=activation, layout=layout)
    y = conv_transpose(y, out_kernel, out_bias, stride=1, activation="identity", layout=layout)
    return center_crop(y, size, layout)


def center_crop(x: Images, size: tuple[int, int], layout: Layout) -> Images:
    """Crops to the central `size` = (height, width).

    If the surplus is odd, one more row or column is removed at the end than at the start.
    """
    first = layout.index("H")
    for axis, length in zip((first, first + 1), size, strict=True):
        start = (x.shape[axis] - length) // 2
        x = lax.slice_in_dim(x, start, start + length, axis=axis)
    return x


def add_bias(x: Images, bias: Bias, layout: Layout) -> Images:
    """Adds the bias to each pixel; its gradient is added up in float32.

    In bfloat16 a sum of ones would stop at 256.
    """
    bias = bias.astype(jnp.float32)
    if bias.ndim == 1:
        added = bias[None, None, None, :] if layout == "NHWC" else bias[None, :, None, None]
    else:
        rows = bias_rows(bias, len(x))
        added = rows[:, None, None, :] if layout == "NHWC" else rows[:, :, None, None]
    if x.dtype != added.dtype:
        added = jnp.broadcast_to(added, x.shape).astype(x.dtype)
    return x + added


def bias_rows(bias: Bias, batch: int) -> Float[Array, "_ features"]:
    """The bias as one row, or as a row for each of `batch` images if it has several."""
    return bias[None] if bias.ndim == 1 else jnp.repeat(bias, batch // len(bias), axis=0)


def to_nhwc(x: Images, layout: Layout) -> Pixels:
    """Images in `layout` as NHWC."""
    return x if layout == "NHWC" else x.transpose(0, 2, 3, 1)


def from_nhwc(x: Pixels, layout: Layout) -> Images:
    """The inverse of `to_nhwc`."""
    return x if layout == "NHWC" else x.transpose(0, 3, 1, 2)
