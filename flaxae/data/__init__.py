"""Images in: the sources, the store of decoded arrays, and batches."""

import re
from dataclasses import dataclass, field

from flaxae.errors import Options, require


@dataclass(frozen=True, kw_only=True)
class DataConfig(Options):
    """Data.

    Raises:
        InputError: `dataset` is no name of a dataset.

    Example:
        >>> flaxae.DataConfig(dataset="fashion_mnist").dataset
        'fashion_mnist'
    """

    dataset: str = "mnist_5k"
    """mnist_5k (no download), mnist, fashion_mnist, kmnist, or images that TFDS has prepared."""
    data_dir: str | None = field(default=None, metadata={"changeable": True})
    """Folder of prepared datasets (none: $TFDS_DATA_DIR, else TFDS's ~/tensorflow_datasets)."""
    manual_dir: str | None = field(default=None, metadata={"changeable": True})
    """Folder with the official IDX files, gzipped or not (none: they are downloaded)."""
    train_limit: int | None = None
    """At most so many training images, the first of the split (none: all)."""

    def check(self) -> None:
        if self.train_limit is not None:
            fits = self.train_limit >= 1
            require(fits, "--train-limit", self.train_limit, "a whole number from 1")
        from flaxae.data.sources import SOURCES  # which imports this module

        if self.dataset in SOURCES:
            return
        known_form = re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.]+)?", self.dataset) is not None
        require(known_form, "--dataset", repr(self.dataset), "name, name/config or name:version")
