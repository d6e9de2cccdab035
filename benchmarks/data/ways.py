"""The ways to read the images of the store in a random order, and to fill the store."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.data.samples import write_arrays, write_files
from flaxae.data import DataConfig
from flaxae.data.read_ahead import read_ahead
from flaxae.data.sources import open_images
from flaxae.data.store import images as stored
from flaxae.errors import RunError

_BATCH = 256


class Way(NamedTuple):
    """`start` gives all images once, in arrays or in what becomes an array."""

    start: Callable[[], Iterable[Any]]
    expected: np.ndarray  # in the order of the arrays


def make_ways(images: np.ndarray, folder: Path, store: Path) -> dict[str, Way]:
    """All ways by name. Those that fill the folder `store` expect that it was deleted before."""
    order = np.random.default_rng(1).permutation(len(images))
    rows = [order[first : first + _BATCH] for first in range(0, len(order), _BATCH)]
    path, shape = folder / "images.u8", images.shape
    images.tofile(path)
    sums = stored.checksums(path, shape, 0)

    def opened(memory: int) -> stored.StoredImages:
        """As with so much available memory, which decides how rows are read."""
        with mock.patch.object(stored, "available_memory", return_value=memory):
            file = stored.ImageFile(folder, path, shape, 0, sums)
        return stored.StoredImages(file, np.arange(len(images)))

    def fill(path: Path) -> list[Any]:
        return [open_images(str(path), DataConfig(store_dir=str(store)), shape[1:]).images]

    mapped, by_row = opened(2**62), opened(0)
    reading: dict[str, Callable[[], Iterable[Any]]] = {
        "memory map": lambda: (mapped[each] for each in rows),
        "memory map, first epoch": lambda: map(opened(2**62).__getitem__, rows),
        "row by row": lambda: (by_row[each] for each in rows),
        "read ahead, memory map": lambda: read_ahead(len(rows), lambda n: mapped[rows[n]]),
        "read ahead, row by row": lambda: read_ahead(len(rows), lambda n: by_row[rows[n]]),
    }
    ways = {name: Way(start, images[order]) for name, start in reading.items()}
    for array in write_arrays(images, folder):
        ways[f"store from {array.suffix}"] = Way(partial(fill, array), images)
    for name, suffix in (("JPEG", "jpg"), ("PNG", "png")):
        pixels = write_files(images, folder / suffix, suffix)
        ways[f"store from {name}"] = Way(partial(fill, folder / suffix), pixels)
    return ways


def prove(name: str, way: Way) -> None:
    """Raises RunError unless the images are those that were written."""
    found = np.concatenate([np.asarray(each) for each in way.start()])
    if not np.array_equal(found, way.expected):
        raise RunError(f"{name}: the images differ from those that were written")
