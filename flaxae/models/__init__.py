"""The autoencoders, their layers, and the operations that the layers compute with.

A new model is a folder with a config and its modules, and a line in `MODELS`.
"""

from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ModelConfig

# Name on the command line and in config.json -> its options. A user may add to it.
MODELS: dict[str, type[ModelConfig]] = {
    config.name: config for config in (ConvolutionalConfig, FullyConnectedConfig)
}
