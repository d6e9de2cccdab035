"""Linen layers in either layout: they hold the parameters, and `ops/` computes.

Kernels are HWIO in both layouts, so that one checkpoint serves both (flax itself has no NCHW).
Every layer sows its activation into the collection "intermediates". Fused operations are split
only if the caller asks for that collection, because a fused operation has no such activation.
"""

from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxae.models import ops
from flaxae.models.ops import plain
from flaxae.models.options import ComputeConfig
from flaxae.models.randomness import Dropout

Images = Float[Array, "batch _ _ _"]  # in the layout of the computation
Rows = Float[Array, "batch _"]

# He et al. 2015, https://arxiv.org/abs/1502.01852: fan-in, truncated at two standard deviations.
_he_normal = nn.initializers.he_normal()


class Conv(nn.Module):
    """3x3 SAME convolution, bias and activation; sizes become ceil(size / stride)."""

    filters: int
    activation: str
    compute: ComputeConfig
    stride: int = 1

    @nn.compact
    def __call__(self, x: Images) -> Images:
        kernel, bias = _weights(self, (3, 3, channels(x, self.compute.layout), self.filters))
        y = _ops(self).conv(
            x,
            kernel,
            bias,
            stride=self.stride,
            activation=self.activation,
            layout=self.compute.layout,
        )
        self.sow("intermediates", "activation", y)
        return y


class ConvMaxPool(nn.Module):
    """3x3 SAME convolution, bias, activation and 2x2 max pooling; sizes become ceil(size / 2)."""

    filters: int
    activation: str
    compute: ComputeConfig

    @nn.compact
    def __call__(self, x: Images) -> Images:
        layout, activation = self.compute.layout, self.activation
        kernel, bias = _weights(self, (3, 3, channels(x, layout), self.filters))
        if _is_watched(self):
            y = plain.conv(x, kernel, bias, activation=activation, layout=layout)
            self.sow("intermediates", "activation", y)
            return plain.max_pool(y, layout=layout)
        return _ops(self).conv_max_pool(x, kernel, bias, activation=activation, layout=layout)


class ConvTranspose(nn.Module):
    """3x3 SAME transposed convolution of stride 2, bias and activation; sizes double."""

    filters: int
    activation: str
    compute: ComputeConfig

    @nn.compact
    def __call__(self, x: Images) -> Images:
        layout = self.compute.layout
        kernel, bias = _weights(self, (3, 3, channels(x, layout), self.filters))
        y = _ops(self).conv_transpose(
            x, kernel, bias, stride=2, activation=self.activation, layout=layout
        )
        self.sow("intermediates", "activation", y)
        return y


class UpsampleHead(nn.Module):
    """The decoder's end: `ConvTranspose`, dropout, a stride-1 one to the image's channels, crop.

    One layer instead of three, because the CPU form never computes the arrays between them.
    """

    filters: int
    activation: str
    dropout_rate: float
    image_shape: tuple[int, int, int]  # height, width, channels
    compute: ComputeConfig

    @nn.compact
    def __call__(self, x: Images, train: bool) -> Images:
        layout, activation = self.compute.layout, self.activation
        height, width, features = self.image_shape
        size = (height, width)
        up = _weights(self, (3, 3, channels(x, layout), self.filters), "up_")
        out = _weights(self, (3, 3, self.filters, features), "out_")
        if _is_watched(self) or (train and self.dropout_rate > 0):
            y = plain.conv_transpose(x, *up, stride=2, activation=activation, layout=layout)
            self.sow("intermediates", "activation", y)
            y = Dropout(self.dropout_rate)(y, deterministic=not train)
            y = plain.conv_transpose(y, *out, stride=1, activation="identity", layout=layout)
            return plain.center_crop(y, size, layout)
        return _ops(self).upsample_head(
            x, *up, *out, activation=activation, size=size, layout=layout
        )


class Dense(nn.Module):
    """Matrix product, bias and activation."""

    features: int
    activation: str
    compute: ComputeConfig

    @nn.compact
    def __call__(self, x: Rows) -> Rows:
        kernel, bias = _weights(self, (x.shape[-1], self.features))
        y = _ops(self).ACTIVATIONS[self.activation](x @ kernel + plain.bias_rows(bias, len(x)))
        self.sow("intermediates", "activation", y)
        return y


def channels(x: Images, layout: str) -> int:
    """The number of channels of images in `layout`."""
    return x.shape[layout.index("C")]


def _weights(
    layer: nn.Module, kernel_shape: tuple[int, ...], prefix: str = ""
) -> tuple[jax.Array, jax.Array]:
    """A kernel and a bias: float32 parameters, cast to the type of the computation.

    The collection "bias_rows" may hold equal rows of the bias in its place: see `ops/gpu.py`.
    """
    kernel = layer.param(f"{prefix}kernel", _he_normal, kernel_shape, jnp.float32)
    bias = layer.param(f"{prefix}bias", nn.initializers.zeros, kernel_shape[-1:], jnp.float32)
    if layer.has_variable("bias_rows", f"{prefix}bias"):
        bias = layer.get_variable("bias_rows", f"{prefix}bias")
    dtype = layer.compute.dtype  # type: ignore[attr-defined]
    return kernel.astype(dtype), bias.astype(dtype)


def _ops(layer: nn.Module) -> ModuleType:
    choice = layer.compute.kernels  # type: ignore[attr-defined]
    return ops.operations(choice, jax.default_backend())


def _is_watched(layer: nn.Module) -> bool:
    return layer.is_mutable_collection("intermediates") and not layer.is_initializing()
