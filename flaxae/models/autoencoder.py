"""The convolutional and the fully connected autoencoder, each as an encoder and a decoder.

Images come in and logits go out as NHWC whatever the layout inside; an embedding is flat. Both
halves are entry points: `model.apply(variables, images, method="encode")`.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxae.config import ComputeConfig, ModelConfig
from flaxae.models.layers import (
    Conv,
    ConvMaxPool,
    ConvTranspose,
    Dense,
    UpsampleHead,
    from_layout,
    to_layout,
)

Images = Float[Array, "batch height width channels"]
Embedding = Float[Array, "batch dimensions"]
Shape = tuple[int, int, int]  # height, width, channels


class Autoencoder(nn.Module):
    """An encoder and a decoder of the kind that `config.model` names."""

    config: ModelConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        kinds = {
            "convolutional": (ConvolutionalEncoder, ConvolutionalDecoder),
            "fully_connected": (FullyConnectedEncoder, FullyConnectedDecoder),
        }
        encoder, decoder = kinds[self.config.model]
        self.encoder = encoder(self.config, self.compute, self.image_shape)
        self.decoder = decoder(self.config, self.compute, self.image_shape)

    def __call__(self, images: Images, train: bool = False) -> Images:
        """Logits of the reconstruction, float32; `train` switches dropout on."""
        return self.decode(self.encode(images, train), train)

    def encode(self, images: Images, train: bool = False) -> Embedding:
        """The embedding of images with pixels in 0..1, float32."""
        return self.encoder(images.astype(self.compute.dtype), train).astype(jnp.float32)

    def decode(self, embedding: Embedding, train: bool = False) -> Images:
        """Logits of the images that an embedding stands for, float32."""
        return self.decoder(embedding.astype(self.compute.dtype), train).astype(jnp.float32)


class ConvolutionalEncoder(nn.Module):
    """Blocks of two convolutions and a halving, then, where asked for, a dense layer."""

    config: ModelConfig
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
    config: ModelConfig
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


class ConvolutionalDecoder(nn.Module):
    """Transposed convolutions of stride 2, one of stride 1 to the image's channels, and a crop."""

    config: ModelConfig
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


class FullyConnectedEncoder(nn.Module):
    """Dense layers on the flattened image; the last one is the embedding."""

    config: ModelConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        common = (self.config.activation, self.compute)
        self.layers = [Dense(units, *common) for units in self.config.hidden_units]
        self.dropout = nn.Dropout(self.config.dropout_rate)
        if self.config.latent_dim is not None:
            self.to_latent = Dense(self.config.latent_dim, "identity", self.compute)

    def __call__(self, images: Images, train: bool) -> Embedding:
        x = images.reshape(len(images), -1)
        for layer in self.layers:
            x = self.dropout(layer(x), deterministic=not train)
        return x if self.config.latent_dim is None else self.to_latent(x)


class FullyConnectedDecoder(nn.Module):
    """The encoder's layers in reverse, and one without activation to the pixels."""

    config: ModelConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        *units, last = self.config.hidden_units
        if self.config.latent_dim is not None:
            units = [*units, last]
        self.layers = [Dense(u, self.config.activation, self.compute) for u in reversed(units)]
        self.dropout = nn.Dropout(self.config.dropout_rate)
        self.pixels = Dense(math.prod(self.image_shape), "identity", self.compute)

    def __call__(self, embedding: Embedding, train: bool) -> Images:
        x = embedding
        for layer in self.layers:
            x = self.dropout(layer(x), deterministic=not train)
        return self.pixels(x).reshape(len(x), *self.image_shape)
