"""The operations of `plain.py`, in forms that move fewer bytes through a GPU's memory.

The results are those of `plain.py` up to rounding. `benchmarks/programs` counts what the compiled
programs move, and `benchmarks/attempts.md` has the counts of these and other implementations.
Computation is in NHWC; XLA chooses the order in memory, whatever the order of the axes here.

A bias may also come as equal rows, [rows, features], where `rows` divides the batch. The gradient
of each row is then the sum over its part of the batch, so that the caller can add the rows of all
layers at once.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int8

from flaxae.models.ops import plain
from flaxae.models.ops.blocks import fold_kernel, interleave, phase_kernel
from flaxae.models.ops.plain import (
    MONOTONE,
    Bias,
    Images,
    Kernel,
    Layout,
    Pixels,
    from_nhwc,
    to_nhwc,
)

# Up to so many channels, the input gradient of the last layer is computed as sums of products in
# the kernel that also applies the gradient of the activation.
_FEW_CHANNELS = 3
_NOT_CUDNNS = frozenset({"elu", "leaky_relu", "tanh", "gelu"})


def conv(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int = 1, activation: str, layout: Layout
) -> Images:
    """`plain.conv`, with gradients that need its output only."""
    x = to_nhwc(x, layout)
    # What cuDNN does not apply itself would be a pass over its result.
    by_sums = x.shape[3] * stride == 1 and kernel.shape[:2] == (3, 3) and activation in _NOT_CUDNNS
    y = _convolve_one(x, kernel) if by_sums else _convolve(x, kernel, stride, "SAME")
    return from_nhwc(ACTIVATIONS[activation](_add_bias(y, bias)), layout)


@jax.custom_vjp
def _convolve_one(
    x: Float[Array, "batch height width 1"], kernel: Float[Array, "3 3 1 features"]
) -> Float[Array, "batch height width features"]:
    """SAME convolution of one channel, which XLA fuses with the activation after it."""
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = [(row, column) for row in range(3) for column in range(3)]
    neighbors = [padded[:, r : r + height, c : c + width] for r, c in places]
    patches = jnp.concatenate(neighbors, axis=3).astype(jnp.float32)
    matrix = kernel.astype(jnp.float32).reshape(9, -1)
    return _sums_of_products(patches, matrix).astype(x.dtype)


_convolve_one.defvjp(
    lambda x, kernel: (_convolve_one(x, kernel), (x, kernel)),
    lambda saved, g: jax.vjp(lambda x, k: _convolve(x, k, 1, "SAME"), *saved)[1](g),
)


def conv_max_pool(
    x: Images, kernel: Kernel, bias: Bias, *, activation: str, layout: Layout
) -> Images:
    """`plain.conv_max_pool`, which pools before the activation if that is monotone.

    The result is the same, and the activation processes a quarter of the elements.
    """
    y = _add_bias(_convolve(to_nhwc(x, layout), kernel, 1, "SAME"), bias)
    if activation == "relu":
        y = max_pool(y, relu=True)
    elif activation in MONOTONE:
        y = ACTIVATIONS[activation](max_pool(y))
    else:
        y = max_pool(ACTIVATIONS[activation](y))
    return from_nhwc(y, layout)


def conv_transpose(
    x: Images, kernel: Kernel, bias: Bias, *, stride: int, activation: str, layout: Layout
) -> Images:
    """`plain.conv_transpose`, computed in phase space for 3x3 kernels with stride 2."""
    if (stride, *kernel.shape[:2]) != (2, 3, 3):
        return plain.conv_transpose(
            x, kernel, bias, stride=stride, activation=activation, layout=layout
        )
    phases = _convolve(to_nhwc(x, layout), phase_kernel(kernel), 1, ((1, 0), (1, 0)))
    # Interleaving is a pass over memory, which adds the bias too. Without the barrier, XLA would
    # add it in the convolution, as an array of the size of the images.
    phases = _add_bias(lax.optimization_barrier(phases), bias, 4)
    return from_nhwc(interleave(ACTIVATIONS[activation](phases)), layout)


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

    The upsampled features stay in phase space, and only those that the crop needs are computed.
    """
    if (up_kernel.shape[:2], out_kernel.shape[:2]) != ((3, 3), (3, 3)):
        parameters = (up_kernel, up_bias, out_kernel, out_bias)
        return plain.upsample_head(x, *parameters, activation=activation, size=size, layout=layout)
    x = to_nhwc(x, layout)
    rows, columns = (_Blocks.of(*sizes) for sizes in zip(x.shape[1:3], size, strict=True))
    kernel = phase_kernel(up_kernel, (rows.odd, columns.odd))
    phases = _add_bias(_convolve(x, kernel, 1, (rows.pads, columns.pads)), up_bias, 4)
    phases = fold_phases(
        ACTIVATIONS[activation](phases), out_kernel, out_bias, (rows.border, columns.border)
    )
    y = interleave(phases)[:, rows.border :, columns.border :][:, : size[0], : size[1]]
    return from_nhwc(y, layout)


class _Blocks(NamedTuple):
    """The blocks of two upsampled rows (or columns) that a crop needs."""

    odd: int  # 1: the blocks begin with odd rows
    pads: tuple[int, int]  # of the rows of x, for the convolution into phase space
    border: int  # 1: the crop reaches the border, beyond which there are zeros

    @classmethod
    def of(cls, rows: int, size: int) -> "_Blocks":
        """For `rows` of x, upsampled and then cropped to the central `size`.

        Block i is computed from two rows of x, and two rows of the result from two blocks.
        """
        start = (2 * rows - size) // 2
        if start == 0:
            return cls(0, (1, 0), 1)
        first, blocks = start - 1, -(-size // 2) + 1
        before = (first - 1) // 2  # block i is computed from x[before + i] and x[before + i + 1]
        return cls(first % 2, (-before, before + blocks + 1 - rows), 0)


def fold_phases(
    phases: Float[Array, "batch height width _"],
    kernel: Float[Array, "3 3 channels features"],
    bias: Bias,
    border: tuple[int, int],
) -> Float[Array, "batch _ _ 4*features"]:
    """Stride-1 transposed convolution and bias, from phase space to phase space.

    Along an axis without `border`, block i of the result is computed from blocks i and i + 1. With
    it there are zeros on both sides: block i, from blocks i - 1 and i, begins one pixel earlier.
    """
    return _folded(phases, kernel, bias, border)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _folded(phases: Pixels, kernel: Kernel, bias: Bias, border: tuple[int, int]) -> Pixels:
    # Without the barrier, XLA would add the bias in the convolution, from an array of its own.
    y = lax.optimization_barrier(_fold(phases, fold_kernel(kernel), border))
    return y + _repeated(bias, 4)


def _fold(phases: Pixels, blocks: Kernel, border: tuple[int, int]) -> Pixels:
    return _convolve(phases, blocks, 1, tuple((each, each) for each in border))


def _fold_forward(
    phases: Pixels, kernel: Kernel, bias: Bias, border: tuple[int, int]
) -> tuple[Pixels, tuple[Pixels, Kernel, Bias]]:
    return _folded(phases, kernel, bias, border), (phases, kernel, bias)


def _fold_backward(
    border: tuple[int, int], saved: tuple[Pixels, Kernel, Bias], g: Pixels
) -> tuple[Pixels, Kernel, Bias]:
    phases, kernel, bias = saved
    g = lax.optimization_barrier(g)  # computed once, in phase space
    if border == (1, 1):
        # From g to the phases, because cuDNN's gradient allows less padding than this would need.
        other = jnp.zeros((2, 2, g.shape[3], phases.shape[3]), g.dtype)
        (turned,) = jax.vjp(lambda k: _convolve(g, k, 1, "VALID"), other)[1](phases)
        blocks_grad = turned[::-1, ::-1].swapaxes(2, 3)
    else:
        blocks = fold_kernel(kernel)
        (blocks_grad,) = jax.vjp(lambda k: _fold(phases, k, border), blocks)[1](g)
    (kernel_grad,) = jax.vjp(fold_kernel, kernel)[1](blocks_grad)
    if kernel.shape[3] <= _FEW_CHANNELS:
        phases_grad = _fold_input_gradient(phases, kernel, border, g)
    else:
        (phases_grad,) = jax.vjp(lambda p: _fold(p, fold_kernel(kernel), border), phases)[1](g)
    return phases_grad, kernel_grad, _bias_gradient(g, bias)


_folded.defvjp(_fold_forward, _fold_backward)


def _fold_input_gradient(
    phases: Pixels, kernel: Kernel, border: tuple[int, int], g: Pixels
) -> Pixels:
    """A sum of products, which XLA fuses with the gradient of the activation before it."""
    _, height, width, channels = phases.shape
    g = jnp.pad(g, ((0, 0), *((1 - each, 1 - each) for each in border), (0, 0)))
    corners = [(row, column) for row in range(2) for column in range(2)]
    neighbors = [g[:, 1 - r : 1 - r + height, 1 - c : 1 - c + width] for r, c in corners]
    patches = jnp.concatenate(neighbors, axis=3).astype(jnp.float32)
    blocks = fold_kernel(kernel.astype(jnp.float32)).transpose(0, 1, 3, 2).reshape(-1, channels)
    return _sums_of_products(patches, blocks).astype(phases.dtype)


def _sums_of_products(
    x: Float[Array, "batch height width terms"], matrix: Float[Array, "terms features"]
) -> Float[Array, "batch height width features"]:
    """The product as sums, which XLA fuses with what follows, in place of a library's call."""
    return (x[..., None] * matrix[None, None, None]).sum(axis=3)


def max_pool(x: Pixels, *, relu: bool = False) -> Pixels:
    """2x2 SAME max pooling with stride 2, then, if asked for, a ReLU."""
    x = jnp.pad(
        x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-jnp.inf
    )
    batch, height, width, channels = x.shape
    return _block_maximum(x.reshape(batch, height // 2, 2, width // 2, 2, channels), relu)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _block_maximum(
    blocks: Float[Array, "batch height 2 width 2 channels"], relu: bool
) -> Float[Array, "batch height width channels"]:
    """Maximum of each 2x2 block, whose gradient goes to the first pixel that has it.

    Only the place of that pixel is kept, in a byte. The gradient of `lax.reduce_window` searches
    the windows again and scatters, by way of four arrays of indices.
    """
    return _block_maximum_forward(blocks, relu)[0]


def _block_maximum_forward(
    blocks: Float[Array, "batch height 2 width 2 channels"], relu: bool
) -> tuple[Pixels, Int8[Array, "batch height width channels"]]:
    pixels = [blocks[:, :, row, :, column] for row in range(2) for column in range(2)]
    y = jnp.maximum(jnp.maximum(*pixels[:2]), jnp.maximum(*pixels[2:]))
    place = jnp.full(y.shape, 3, jnp.int8)
    for index in (2, 1, 0):
        place = jnp.where(pixels[index] == y, jnp.int8(index), place)
    if relu:
        y = jnp.maximum(y, 0)
        place = jnp.where(y != 0, place, jnp.int8(4))  # no pixel has a gradient
    return y, place


def _block_maximum_backward(
    relu: bool, place: Int8[Array, "batch height width channels"], g: Pixels
) -> tuple[Float[Array, "batch height 2 width 2 channels"]]:
    places = jnp.arange(4, dtype=jnp.int8).reshape(1, 1, 2, 1, 2, 1)
    winners = place[:, :, None, :, None] == places
    return (jnp.where(winners, g[:, :, None, :, None], 0),)


_block_maximum.defvjp(_block_maximum_forward, _block_maximum_backward)


def _add_bias(y: Pixels, bias: Bias, copies: int = 1) -> Pixels:
    """Adds `copies` of the bias, one for each pixel of a block in phase space."""
    return _biased(y, bias, copies)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _biased(y: Pixels, bias: Bias, copies: int) -> Pixels:
    return y + _repeated(bias, copies)


def _repeated(bias: Bias, copies: int) -> Float[Array, "1 1 1 _"]:
    row = bias if bias.ndim == 1 else bias[0]  # all rows are equal
    return jnp.concatenate([row] * copies)[None, None, None]


def _bias_gradient(g: Pixels, bias: Bias) -> Bias:
    rows, features = (1, *bias.shape)[-2:]
    # Only the batch and the channels are split, so that XLA may keep any order in memory.
    parts = g.reshape(rows, len(g) // rows, *g.shape[1:3], -1, features)
    return parts.sum(axis=(1, 2, 3, 4)).reshape(bias.shape)


_biased.defvjp(
    lambda y, bias, copies: (_biased(y, bias, copies), bias),
    lambda copies, bias, g: (g, _bias_gradient(g, bias)),
)


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


def _convolve(
    x: Pixels, kernel: Kernel, stride: int, pads: str | tuple[tuple[int, int], ...]
) -> Pixels:
    # XLA calls cuDNN for the gradients only where the kernel is not computed in the same operation.
    kernel = lax.optimization_barrier(kernel)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
