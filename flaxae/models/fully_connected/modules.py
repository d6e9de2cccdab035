"""Encoder and decoder of the fully connected autoencoder, as linen modules."""

import math

import flax.linen as nn

from flaxae.models.autoencoder import Embedding, Images
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.layers import Dense
from flaxae.models.options import ComputeConfig, Shape
from flaxae.models.randomness import Dropout


class Encoder(nn.Module):
    """Dense layers on the flattened image; the last one is the embedding."""

    config: FullyConnectedConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        common = (self.config.activation, self.compute)
        self.layers = [Dense(units, *common) for units in self.config.hidden_units]
        self.dropout = Dropout(self.config.dropout_rate)
        if self.config.latent_dim is not None:
            self.to_latent = Dense(self.config.latent_dim, "identity", self.compute)

    def __call__(self, images: Images, train: bool) -> Embedding:
        x = images.reshape(len(images), -1)
        for layer in self.layers:
            x = self.dropout(layer(x), deterministic=not train)
        return x if self.config.latent_dim is None else self.to_latent(x)


class Decoder(nn.Module):
    """The encoder's layers in reverse, and one without activation to the pixels."""

    config: FullyConnectedConfig
    compute: ComputeConfig
    image_shape: Shape

    def setup(self) -> None:
        *units, last = self.config.hidden_units
        if self.config.latent_dim is not None:
            units = [*units, last]
        self.layers = [Dense(u, self.config.activation, self.compute) for u in reversed(units)]
        self.dropout = Dropout(self.config.dropout_rate)
        self.pixels = Dense(math.prod(self.image_shape), "identity", self.compute)

    def __call__(self, embedding: Embedding, train: bool) -> Images:
        x = embedding
        for layer in self.layers:
            x = self.dropout(layer(x), deterministic=not train)
        return self.pixels(x).reshape(len(x), *self.image_shape)
