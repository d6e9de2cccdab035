"""Images in: the sources, the store of decoded images, and batches."""

import os
import re
from dataclasses import dataclass, field
from typing import Literal

from flaxae.errors import Options, PathText, require

ARRAY_SUFFIXES = (".npy", ".npz")


@dataclass(frozen=True, kw_only=True)
class DataConfig(Options):
    """Data.

    Raises:
        InputError: `dataset` is neither a name nor a path, or an option is out of range.

    Example:
        >>> flaxae.DataConfig(dataset="photos/", image_size=(64, 64), channels=3).fit
        'stretch'
    """

    dataset: PathText = "mnist_5k"
    """mnist_5k (no download), mnist, fashion_mnist, kmnist, images that TFDS has prepared, or a
    path: a folder of images (photos/), or arrays (.npy, .npz)."""
    data_dir: PathText | None = field(default=None, metadata={"changeable": True})
    """Folder of prepared datasets (none: $TFDS_DATA_DIR, else TFDS's ~/tensorflow_datasets)."""
    manual_dir: PathText | None = field(default=None, metadata={"changeable": True})
    """Folder with the official IDX files, gzipped or not (none: they are downloaded)."""
    train_limit: int | None = None
    """At most so many training images, the first of the split (none: all)."""
    classes: tuple[str, ...] = ()
    """Names or numbers of the classes to train and validate on; test stays whole (none: all)."""
    image_size: tuple[int, ...] | None = None
    """Height and width that the files of a folder are resized to (none: as they are)."""
    channels: int | None = field(default=None, metadata={"choices": (1, 3)})
    """1: gray, 3: color (none: color if a file has any)."""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """How a file gets the image size: stretched, its middle cut out, or padded."""
    background: tuple[int, ...] = (0, 0, 0)
    """Red, green and blue in 0..255, below transparent pixels and around padded images."""
    range: tuple[float, ...] | None = None
    """Values that become black and white, of more than 8 bits (none: 0 and the largest)."""
    labels: PathText | None = None
    """A table file,label of the folder's images, as CSV (none: sub-folders are classes)."""
    targets: PathText | None = None
    """Folder of what is to be reconstructed of each image, paired by file name."""
    images_key: str | None = None
    """Name of the images in an .npz (none: found by their shape)."""
    labels_key: str | None = None
    """Name of the labels in an .npz, or "none" for no labels (not given: labels, or y)."""
    bad_files: float = field(default=0.01, metadata={"changeable": True})
    """At most this share of the files may be unreadable; they are left out and named."""
    store_dir: PathText | None = field(default=None, metadata={"changeable": True})
    """Folder of decoded images (none: $FLAXAE_STORE_DIR, else ~/.cache/flaxae/images)."""

    def check(self) -> None:
        if self.train_limit is not None:
            fits = self.train_limit >= 1
            require(fits, "--train-limit", self.train_limit, "a whole number from 1")
        self._check_decoding()
        from flaxae.data.sources import SOURCES  # which imports this module

        if self.dataset in SOURCES or is_path(self.dataset) or os.path.exists(self.dataset):
            return
        known_form = re.fullmatch(r"(tfds:)?\w+(/[\w.-]+)?(:[\d.]+)?", self.dataset) is not None
        expected = "name, name/config or name:version of a dataset, or a path such as ./images"
        require(known_form, "--dataset", repr(self.dataset), expected)

    def _check_decoding(self) -> None:
        size, span, color = self.image_size, self.range, self.background
        if size is not None:
            fits = len(size) == 2 and all(1 <= side <= 4096 for side in size)
            require(fits, "--image-size", _text(size), "height and width in 1..4096")
        require(self.channels in (None, 1, 3), "--channels", self.channels, "1 or 3")
        fits = len(color) == 3 and all(0 <= part <= 255 for part in color)
        require(fits, "--background", _text(color), "three whole numbers in 0..255")
        if span is not None:
            fits = len(span) == 2 and span[0] < span[1] and all(abs(v) < 1e30 for v in span)
            expected = "two numbers between -1e30 and 1e30, the smaller one first"
            require(fits, "--range", _text(span), expected)
        require(0 <= self.bad_files <= 1, "--bad-files", self.bad_files, "a share in 0..1")


def is_path(dataset: str) -> bool:
    """Whether a dataset is written as a path: photos/, ./photos, ~/photos, /photos or x.npz."""
    return (
        dataset.startswith((".", "~", "/"))
        or dataset.endswith("/")
        or dataset.lower().endswith(ARRAY_SUFFIXES)
    )


def _text(values: tuple[int | float, ...]) -> str:
    return " ".join(map(str, values))
