"""A dataset of random images on disk in the form in which flaxae keeps decoded datasets."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flaxae.data.sources import OWN_DATASETS
from flaxae.errors import InputError

NAME = "mnist_5k"  # flaxae opens its arrays without TFDS
_CHUNK = 2**24  # bytes drawn at once
_FEW = 10  # images of validation and test, which no step uses


def size(images: int, side: int) -> int:
    """The bytes of a dataset on disk with labels of 4 bytes, plus a tenth."""
    return int(1.1 * (images + 2 * _FEW) * (side * side + 4))


def require_space(needed: int) -> None:
    """Checks the disk before anything is measured.

    Raises:
        InputError: the folder for temporary files has less than `needed` bytes free.
    """
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder} has {free / 1e9:.2f} GB free and the largest dataset takes "
            f"{needed / 1e9:.2f}; free some, or set the variable TMPDIR to another folder"
        )


@contextlib.contextmanager
def on_disk(images: int, side: int) -> Iterator[Path]:
    """A folder for --data-dir with `images` training images; deleted on leaving and on SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="flaxae-scaling-") as folder:
            write(Path(folder), images, side)
            yield Path(folder)
    finally:
        signal.signal(signal.SIGTERM, before)


def images_path(data_dir: Path) -> Path:
    """The file of the training images."""
    return data_dir / OWN_DATASETS[NAME] / "flaxae_arrays" / "train_images.npy"


def write(data_dir: Path, images: int, side: int) -> None:
    """Writes what `flaxae.data.store.load` opens as the dataset `NAME`."""
    arrays = images_path(data_dir).parent
    arrays.mkdir(parents=True)
    (arrays.parent / "dataset_info.json").write_text("{}")
    for split, count in {"train": images, "validation": _FEW, "test": _FEW}.items():
        _write_images(arrays / f"{split}_images.npy", count, side)
        np.save(arrays / f"{split}_labels.npy", np.arange(count, dtype=np.int32) % 10)
    source = hashlib.sha256(b"{}").hexdigest()
    description = {"class_names": list("0123456789"), "source": source}
    (arrays / "description.json").write_text(json.dumps(description))


def _write_images(path: Path, count: int, side: int) -> None:
    # Not with a memory map: writing to one on a full disk kills the process.
    generator = np.random.default_rng(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 1)}
    pixels = count * side * side
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, pixels, _CHUNK):
            drawn = generator.integers(256, size=min(_CHUNK, pixels - start), dtype=np.uint8)
            file.write(drawn.data)
        # Written to the disk now, not while something is timed.
        file.flush()
        os.fsync(file.fileno())
