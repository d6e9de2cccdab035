"""flaxae: autoencoders for images, trained from the command line or from Python, with JAX and Flax.

Example:
    >>> import flaxae
    >>> run = flaxae.train(flaxae.TrainConfig(epochs=10))  # doctest: +SKIP
    >>> run.evaluate("test")["loss"]  # doctest: +SKIP

Importing this package imports neither numpy nor jax: a public name is imported when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from flaxae.api.detector import AnomalyDetector as AnomalyDetector
    from flaxae.api.load import load as load
    from flaxae.api.run import Run as Run
    from flaxae.api.train import train as train
    from flaxae.config import TrainConfig as TrainConfig
    from flaxae.config.flags import preset as preset
    from flaxae.data import DataConfig as DataConfig
    from flaxae.data.splits import Split as Split
    from flaxae.errors import InputError as InputError
    from flaxae.errors import RunError as RunError
    from flaxae.models.convolutional.config import ConvolutionalConfig as ConvolutionalConfig
    from flaxae.models.fully_connected.config import FullyConnectedConfig as FullyConnectedConfig
    from flaxae.models.options import ComputeConfig as ComputeConfig
    from flaxae.objectives import ObjectiveConfig as ObjectiveConfig
    from flaxae.training import DeviceConfig as DeviceConfig
    from flaxae.training import OptimizerConfig as OptimizerConfig
    from flaxae.training.devices import configure_jax as configure_jax
    from flaxae.training.loop import Callback as Callback
    from flaxae.training.loop import View as View

# Public name -> the module that defines it.
_PUBLIC = {
    "AnomalyDetector": "flaxae.api.detector",
    "Callback": "flaxae.training.loop",
    "ComputeConfig": "flaxae.models.options",
    "ConvolutionalConfig": "flaxae.models.convolutional.config",
    "DataConfig": "flaxae.data",
    "DeviceConfig": "flaxae.training",
    "FullyConnectedConfig": "flaxae.models.fully_connected.config",
    "InputError": "flaxae.errors",
    "ObjectiveConfig": "flaxae.objectives",
    "OptimizerConfig": "flaxae.training",
    "Run": "flaxae.api.run",
    "RunError": "flaxae.errors",
    "Split": "flaxae.data.splits",
    "TrainConfig": "flaxae.config",
    "View": "flaxae.training.loop",
    "configure_jax": "flaxae.training.devices",
    "load": "flaxae.api.load",
    "preset": "flaxae.config.flags",
    "train": "flaxae.api.train",
}
__all__ = [*_PUBLIC, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
