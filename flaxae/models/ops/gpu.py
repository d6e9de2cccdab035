"""The operations of `plain.py`, in forms that move fewer bytes through a GPU's memory.

The results are those of `plain.py` up to rounding. `benchmarks/programs` counts what the compiled
programs move, and `benchmarks/attempts.md` has the counts of these and other implementations.
Computation is in NHWC; XLA chooses the order in memory, whatever the order of the axes here.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from flaxae.models.ops import plain
from flaxae.models.ops.blocks import interleave, phase_kernel
from flaxae.models.ops.cpu import MONOTONE, _from_nhwc, _to_nhwc
from flaxae.models.ops.plain import Bias, Images, Kernel, Layout

Pixels = Float[Array, "batch _ _ _"]  # NHWC


def _by_output(
    function: Callable[[Array], Array], gradient: Callable[[Array, Array], Array]
) -> Callable[[Array], Array]:
    """`function` with a gradient from its output y and the cotangent g, as `gradient(y, g)`.

    Automatic differentiation keeps the input too, so that cuDNN cannot apply a ReLU in the
    convolution before it.
    """

    @jax.custom_vjp
    def activation(x: Array) -> Array:
        return function(x)

    def forward(x: Array) -> tuple[Array, Array]:
        y = function(x)
        return y, y

    activation.defvjp(forward, lambda y, g: (gradient(y, g),))
    return activation


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    **plain.ACTIVATIONS,
    # Not y > 0, which XLA turns back into a comparison of the input.
    "relu": _by_output(jax.nn.relu, lambda y, g: jnp.where(y != 0, g, 0)),
    "elu": _by_output(jax.nn.elu, lambda y, g: g * (jnp.minimum(y, 0) + 1)),
    "leaky_relu": _by_output(jax.nn.leaky_relu, lambda y, g: jnp.where(y < 0, 0.01 * g, g)),
    "tanh": _by_output(jnp.tanh, lambda y, g: g * (1 - y * y)),
}


def conv(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int = 1, activation: str, layout: Layout
) -> Images:
    """`plain.conv`."""
    y = _convolve(_to_nhwc(x, layout), kernel, stride, "SAME")
    return _from_nhwc(_bias_and_activation(y, bias, activation), layout)


def conv_max_pool(
    x: Images, kernel: Kernel, bias: Bias, *, activation: str, layout: Layout
) -> Images:
    """`plain.conv_max_pool`."""
    y = _convolve(_to_nhwc(x, layout), kernel, 1, "SAME") + plain.per_channel(bias, "NHWC")
    if activation in MONOTONE:
        y = ACTIVATIONS[activation](max_pool(y))
    else:
        y = max_pool(ACTIVATIONS[activation](y))
    return _from_nhwc(y, layout)


def conv_transpose(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int, activation: str, layout: Layout
) -> Images:
    """`plain.conv_transpose`."""
    if (stride, *kernel.shape[:2]) != (2, 3, 3):
        return plain.conv_transpose(
            x, kernel, bias, stride=stride, activation=activation, layout=layout
        )
    phases = _convolve(_to_nhwc(x, layout), phase_kernel(kernel), 1, ((1, 0), (1, 0)))
    # Interleaved first, because that is a pass over memory of its own, which then does the rest.
    return _from_nhwc(_bias_and_activation(interleave(phases), bias, activation), layout)


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
    """`plain.upsample_head`, computed in phase space for 3x3 kernels.

    The upsampled features stay in phase space, and only those that the crop needs are computed.
    """
    if (up_kernel.shape[:2], out_kernel.shape[:2]) != ((3, 3), (3, 3)):
        parameters = (up_kernel, up_bias, out_kernel, out_bias)
        return plain.upsample_head(x, *parameters, activation=activation, size=size, layout=layout)
    x = _to_nhwc(x, layout)
    rows, columns = (_Blocks.of(*sizes) for sizes in zip(x.shape[1:3], size, strict=True))
    kernel = phase_kernel(up_kernel, (rows.odd, columns.odd))
    phases = _convolve(x, kernel, 1, (rows.pads, columns.pads))
    phases = _bias_and_activation(phases, jnp.tile(up_bias, 4), activation)
    y = interleave(_fold(phases, out_kernel, (rows.border, columns.border)))
    y = y[:, rows.border :, columns.border :][:, : size[0], : size[1]]
    return _from_nhwc(y + plain.per_channel(out_bias, "NHWC"), layout)


class _Blocks(NamedTuple):
    """The blocks of two upsampled rows (or columns) that a crop needs."""

    odd: int  # 1: a block begins with an odd row, so the blocks are shifted by one
    pads: tuple[int, int]  # of the rows of x, for the convolution into phase space
    border: int  # 1: the crop reaches the border, beyond which there are zeros

    @classmethod
    def of(cls, rows: int, size: int) -> "_Blocks":
        """For `rows` of x, upsampled and cropped to `size`."""
        start = (2 * rows - size) // 2
        if start == 0:
            return cls(0, (1, 0), 1)
        first, count = start - 1, -(-size // 2) + 1  # the first row, and the number of blocks
        before = (first - 1) // 2  # block i is computed from x[before + i] and x[before + i + 1]
        return cls(first % 2, (-before, before + count + 1 - rows), 0)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _fold(
    phases: Float[Array, "batch height width _"],
    kernel: Float[Array, "3 3 channels features"],
    border: tuple[int, int],
) -> Float[Array, "batch _ _ 4*features"]:
    """Stride-1 transposed convolution, from phase space to phase space.

    Block i of the result is computed from blocks i and i + 1, or i - 1 and i at a border.
    """
    return _fold_linear(phases, kernel, border)


def _fold_linear(phases, kernel, border):
    return _convolve(phases, fold_kernel(kernel), 1, tuple((b, b) for b in border))


def fold_kernel(kernel: Array) -> Array:
    """[3,3,C,F] -> [2,2,4C,4F]."""
    _, _, c, f = kernel.shape
    rows = [
        jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0)))
        .reshape(2, 2, 2, 2, c, f).transpose(0, 2, 1, 3, 4, 5)
        for i in range(2) for j in range(2)
    ]
    return jnp.stack(rows, axis=5).reshape(2, 2, 4 * c, 4 * f)


def _fold_forward(phases, kernel, border):
    return _fold(phases, kernel, border), (phases, kernel)


def _fold_backward(border, saved, g):
    phases, kernel = saved
    if border == (1, 1):
        # From g to phases, so that cuDNN's gradient of a kernel fits: it allows no wider padding.
        other = jnp.zeros((2, 2, g.shape[3], phases.shape[3]), g.dtype)
        turned = jax.vjp(lambda k: _convolve(g, k, 1, "VALID"), other)[1](phases)[0]
        big = turned[::-1, ::-1].swapaxes(2, 3)
        kernel_grad = jax.vjp(fold_kernel, kernel)[1](big)[0]
    else:
        kernel_grad = jax.vjp(lambda k: _fold_linear(phases, k, border), kernel)[1](g)[0]
    if kernel.shape[3] > 4:
        x_grad = jax.vjp(lambda p: _fold_linear(p, kernel, border), phases)[1](g)[0]
        return x_grad, kernel_grad
    return _fold_x_grad(phases, kernel, border, g), kernel_grad


def _fold_x_grad(phases, kernel, border, g):
    _, height, width, _ = phases.shape
    features = kernel.shape[3]
    pads = [(0, 0), *((1 - b, 1 - b) for b in border), (0, 0)]
    g = jnp.pad(g.astype(jnp.float32), pads)
    kernel = kernel.astype(jnp.float32)

    def place(r, t, b):
        return divmod(r - t + 2, 2)

    parts = []
    for r in range(2):
        for s in range(2):
            total = 0
            for t in range(3):
                for u in range(3):
                    (h, i), (w, j) = place(r, t, border[0]), place(s, u, border[1])
                    for o in range(features):
                        c = (2 * i + j) * features + o
                        piece = g[:, h : h + height, w : w + width, c : c + 1]
                        total = total + piece * kernel[t, u, :, o]
            parts.append(total)
    return jnp.concatenate(parts, axis=3).astype(phases.dtype)


_fold.defvjp(_fold_forward, _fold_backward)


def max_pool(x: Pixels) -> Pixels:
    """2x2 SAME max pooling with stride 2."""
    x = jnp.pad(
        x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf
    )
    batch, height, width, channels = x.shape
    return _block_maximum(x.reshape(batch, height // 2, 2, width // 2, 2, channels))


@jax.custom_vjp
def _block_maximum(blocks):
    return jnp.max(blocks, axis=(2, 4))


def _block_maximum_forward(blocks):
    a, b, c = blocks[:, :, 0, :, 0], blocks[:, :, 0, :, 1], blocks[:, :, 1, :, 0]
    d = blocks[:, :, 1, :, 1]
    y = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    first = jnp.where(a == y, 0, jnp.where(b == y, 1, jnp.where(c == y, 2, 3))).astype(jnp.int8)
    return y, first


def _block_maximum_backward(first, g):
    place = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    return (jnp.where(first[:, :, None, :, None] == place, g[:, :, None, :, None], 0),)


_block_maximum.defvjp(_block_maximum_forward, _block_maximum_backward)


def _bias_and_activation(y: Pixels, bias: Bias, activation: str) -> Pixels:
    return ACTIVATIONS[activation](y + plain.per_channel(bias, "NHWC"))


def _convolve(x, kernel, stride, pads):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
