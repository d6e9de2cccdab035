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
    from_layout,
    to_layout,
)
from flaxae.models.options import ComputeConfig, Shape


class Encoder(nn.Module):
    """Blocks of two convolutions and a halving, then, where asked for, a dense layer."""

    config: ConvolutionalConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        self.blocks = [EncoderBlock(f, self.config, self.compute) for f in self.config.filters]
        if self.config.latent_dim is not None:
            self.to_latent = Dense(self.config.latent_dim, "identity", self.compute)

    def __call__(self, images: Images, train: bool) -> Embedding:
        x = to_layout(images, self.compute.layout)
        for block in self.blocks:
            x = block(x, train)
        # Flattened as NHWC in both layouts, so that both give the same embedding.
        x = from_layout(x, self.compute.layout).reshape(len(images), -1)
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
        self.dropout = nn.Dropout(self.config.dropout_rate)

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
        first, *others = self.config.filters
        common = (self.config.activation, self.compute)
        if self.config.latent_dim is not None:
            self.from_latent = Dense(math.prod(self.code_shape()), *common)
        self.layers = [ConvTranspose(filters, *common) for filters in reversed(others)]
        self.dropout = nn.Dropout(self.config.dropout_rate)
        rate = self.config.dropout_rate
        self.head = UpsampleHead(first, common[0], rate, self.image_shape, self.compute)

    def __call__(self, embedding: Embedding, train: bool) -> Images:
        x = embedding if self.config.latent_dim is None else self.from_latent(embedding)
        x = to_layout(x.reshape(len(x), *self.code_shape()), self.compute.layout)
        for layer in self.layers:
            x = self.dropout(layer(x), deterministic=not train)
        return from_layout(self.head(x, train), self.compute.layout)

    def code_shape(self) -> Shape:
        """Height, width and channels of the encoder's last block: each halving rounds up."""
        height, width, _ = self.image_shape
        factor = 2 ** len(self.config.filters)
        return -(-height // factor), -(-width // factor), self.config.filters[-1]
