"""Encoder and decoder of the convolutional autoencoder, as linen modules."""

import math

import flax.linen as nn
from jaxtyping import Array, Float

from flaxae.models.autoencoder import Embedding, Images
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.layers import (
    Conv,
    ConvMaxPool,
    ConvTranspose,
    Dense,
    UpsampleHead,
)
from flaxae.models.ops.plain import from_nhwc, to_nhwc
from flaxae.models.options import ComputeConfig, Shape
from flaxae.models.randomness import Dropout


class Encoder(nn.Module):
    """Blocks of two convolutions and a halving, then, where asked for, dense layers."""

    config: ConvolutionalConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        filters = self.config.filters_for(self.image_shape)
        self.blocks = [EncoderBlock(f, self.config, self.compute) for f in filters]
        common = (self.config.activation, self.compute)
        self.dense = [Dense(units, *common) for units in self.config.dense_units]
        self.dropout = Dropout(self.config.dropout_rate)
        if self.config.latent_dim is not None:
            self.to_latent = Dense(self.config.latent_dim, "identity", self.compute)

    def __call__(self, images: Images, train: bool) -> Embedding:
        x = from_nhwc(images, self.compute.layout)
        for block in self.blocks:
            x = block(x, train)
        # Flattened as NHWC in both layouts, so that both give the same embedding.
        x = to_nhwc(x, self.compute.layout).reshape(len(images), -1)
        for layer in self.dense:
            x = self.dropout(layer(x), deterministic=not train)
        return x if self.config.latent_dim is None else self.to_latent(x)


class EncoderBlock(nn.Module):
    """Two convolutions and a halving: by max pooling, or by a third convolution of stride 2."""

    filters: int
    config: ConvolutionalConfig
    compute: ComputeConfig

    def setup(self) -> None:
        common = (self.filters, self.config.activation, self.compute)
        if self.config.downsample == "max_pool":
            self.layers = [Conv(*common), ConvMaxPool(*common)]
        else:
            self.layers = [Conv(*common), Conv(*common), Conv(*common, stride=2)]
        self.dropout = Dropout(self.config.dropout_rate)

    def __call__(self, x: Float[Array, "batch _ _ _"], train: bool) -> Float[Array, "batch _ _ _"]:
        for layer in self.layers:
            x = layer(x)
        return self.dropout(x, deterministic=not train)


class Decoder(nn.Module):
    """Transposed convolutions of stride 2, one of stride 1 to the image's channels, and a crop."""

    config: ConvolutionalConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        first, *others = self.config.filters_for(self.image_shape)
        common = (self.config.activation, self.compute)
        units = self.config.dense_units
        # Without a layer of its own, the embedding is the output of the last dense layer.
        units = units if self.config.latent_dim is not None else units[:-1]
        self.dense = [Dense(size, *common) for size in reversed(units)]
        if self._has_vector():
            self.from_latent = Dense(math.prod(self.code_shape()), *common)
        self.layers = [ConvTranspose(filters, *common) for filters in reversed(others)]
        self.dropout = Dropout(self.config.dropout_rate)
        rate = self.config.dropout_rate
        self.head = UpsampleHead(first, common[0], rate, self.image_shape, self.compute)

    def __call__(self, embedding: Embedding, train: bool) -> Images:
        x = embedding
        for layer in self.dense:
            x = self.dropout(layer(x), deterministic=not train)
        if self._has_vector():
            x = self.from_latent(x)
        x = from_nhwc(x.reshape(len(x), *self.code_shape()), self.compute.layout)
        for layer in self.layers:
            x = self.dropout(layer(x), deterministic=not train)
        return to_nhwc(self.head(x, train), self.compute.layout)

    def code_shape(self) -> Shape:
        """Height, width and channels of the encoder's last block: each halving rounds up."""
        height, width, _ = self.image_shape
        filters = self.config.filters_for(self.image_shape)
        factor = 2 ** len(filters)
        return -(-height // factor), -(-width // factor), filters[-1]

    def _has_vector(self) -> bool:
        """Whether the embedding is a vector of its own, and not the last block's output."""
        return self.config.latent_dim is not None or bool(self.config.dense_units)
