"""A dataset of random images on disk, as `flaxae.data.store` keeps those that it has decoded."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flaxae.data.sources import OWN_DATASETS

NAME = "mnist_5k"  # whose arrays flaxae opens without TFDS
_CHUNK = 2**24  # bytes drawn at once
_FEW = 10  # images of validation and test, which no step touches
_LABEL = 4  # bytes


class NoSpace(Exception):
    """The disk cannot hold the images."""


def dataset_bytes(images: int, side: int) -> int:
    """The size of a dataset on disk, with a tenth to spare."""
    return int(1.1 * (images + 2 * _FEW) * (side * side + _LABEL))


def require_space(needed: int) -> None:
    """Stops before anything is measured.

    Raises:
        NoSpace: the folder for temporary files has less than `needed` bytes free.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpace(
            f"{folder} has {free / 1e9:.2f} GB free and the largest dataset takes "
            f"{needed / 1e9:.2f}; free some, or let the variable TMPDIR name another folder"
        )


@contextlib.contextmanager
def on_disk(images: int, side: int) -> Iterator[Path]:
    """A folder for --data-dir with so many images as training split; deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="flaxae-scaling-") as folder:
        write(Path(folder), images, side)
        yield Path(folder)


def images_path(data_dir: Path) -> Path:
    """The file of the training images."""
    return data_dir / OWN_DATASETS[NAME] / "flaxae_arrays" / "train_images.npy"


def write(data_dir: Path, images: int, side: int) -> None:
    """Writes what `flaxae.data.store.load` takes for the dataset `NAME`, already decoded."""
    prepared = data_dir / OWN_DATASETS[NAME]
    arrays = images_path(data_dir).parent
    arrays.mkdir(parents=True)
    information = b"{}"
    (prepared / "dataset_info.json").write_bytes(information)
    for split, count in {"train": images, "validation": _FEW, "test": _FEW}.items():
        _write_images(arrays / f"{split}_images.npy", count, side)
        np.save(arrays / f"{split}_labels.npy", np.arange(count, dtype=np.int32) % 10)
    source = hashlib.sha256(information).hexdigest()
    description = {"class_names": [str(digit) for digit in range(10)], "source": source}
    (arrays / "description.json").write_text(json.dumps(description))


def _write_images(path: Path, count: int, side: int) -> None:
    # Not through a memory map, which ends the process where the disk is full.
    generator = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 1)}
    left = count * side * side
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        while left > 0:
            chunk = generator.integers(256, size=min(left, _CHUNK), dtype=np.uint8)
            file.write(chunk.data)
            left -= chunk.size
        # On the disk before anything is timed, not while.
        file.flush()
        os.fsync(file.fileno())
