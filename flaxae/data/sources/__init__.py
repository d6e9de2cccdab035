"""Sources of images: one module each, and the table of their names.

A source is an object with `name`, `splits()` and `digest()`. `SOURCES` maps the name of a dataset
to a function `(DataConfig) -> Source`, or to where to find it as "module:function". Every other
name is looked up in TFDS. A user may add to the table.
"""

import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from flaxae.data import DataConfig

if TYPE_CHECKING:
    from flaxae.data.splits import Split


@runtime_checkable
class Source(Protocol):
    """Where the images of a run come from."""

    name: str

    def splits(self) -> "Mapping[str, Split]":
        """The splits train, validation and test; class names and targets are in each of them."""
        ...

    def digest(self) -> str | None:
        """A sha256 of the images, so that a run cannot continue with others; None: unchecked."""
        ...


SOURCES: dict[str, str | Callable[[DataConfig], Source]] = {
    "array": "flaxae.data.sources.array:missing",
}

# Name on the command line -> folder of the prepared dataset below data_dir. The IDX datasets carry
# a prefix because TFDS has builders of the same names, whose folders must not be mixed with ours.
# The versions are here so that a dataset that was decoded before is found without importing TFDS.
OWN_DATASETS = {
    "mnist_5k": "mnist_5k/1.0.0",
    "mnist": "idx_mnist/1.0.0",
    "fashion_mnist": "idx_fashion_mnist/1.0.0",
    "kmnist": "idx_kmnist/1.0.0",
}


def open_source(config: DataConfig) -> Source:
    """The source of the dataset that `config` names; imports its module if need be."""
    entry = SOURCES.get(config.dataset, "flaxae.data.sources.tfds:TfdsSource")
    make = pkgutil.resolve_name(entry) if isinstance(entry, str) else entry
    return make(config)
