"""Arrays in a file, .npy or .npz: one to be split, or one for each split."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flaxae.data import DataConfig
from flaxae.data.sources.array import join_labels, number_labels
from flaxae.data.sources.array_file import NO_LABELS, find_arrays
from flaxae.data.sources.array_pixels import pixels_of
from flaxae.data.sources.array_reading import ArrayFile, list_arrays, read_rows, read_whole
from flaxae.data.sources.stored import Contents, StoredSource, tell_notes
from flaxae.data.splits import SPLITS, Shape
from flaxae.data.store.entries import build_shown, entry_name, store_root
from flaxae.data.store.plan import Chunk, Entry, Plan
from flaxae.errors import InputError

_CHUNK_BYTES = 2**24  # read at a time
_DARK = 16  # an image without a pixel from there on is nearly black
Arrays = Mapping[str, tuple[ArrayFile, ArrayFile | None]]


def source(config: DataConfig) -> StoredSource:
    """The array file that `config` names."""
    return StoredSource(config, open_arrays)


def open_arrays(config: DataConfig) -> Contents:
    """The arrays of a file. A .npy of uint8 is read where it lies, all else from the store.

    Raises:
        InputError: the file holds no images, or labels that do not fit them.
    """
    arrays = find_arrays(Path(config.dataset), config.images_key, config.labels_key)
    entry = _open(config, arrays)
    tell_notes(config, entry)
    splits = None
    if set(arrays) != {"all"}:
        sizes = [arrays[name][0].shape[0] if name in arrays else 0 for name in SPLITS]
        splits = np.repeat(np.arange(len(SPLITS), dtype=np.int8), sizes)
    return Contents(entry, splits, *_labels(arrays))


def without_absent_keys(config: DataConfig) -> DataConfig:
    """The config without the keys of arrays that its file does not have, as that of other images.

    Raises:
        InputError: the file cannot be read.
    """
    names = list_arrays(Path(config.dataset))
    images = config.images_key if config.images_key in names else None
    labels = config.labels_key if config.labels_key in {*names, NO_LABELS} else None
    return replace(config, images_key=images, labels_key=labels)


def _open(config: DataConfig, arrays: Arrays) -> Entry:
    images = [pair[0] for pair in _in_order(arrays)]
    shapes = {_image_shape(array) for array in images}
    if len(shapes) > 1:
        raise InputError(f"{images[0].path} has images of different shapes: {sorted(shapes)}")
    (shape,) = shapes
    path, stat = images[0].path, images[0].path.stat()
    options = repr((shape, config.range, [(a.member, a.shape, a.dtype.str) for a in images]))
    state = f"{options} {stat.st_size} {stat.st_mtime_ns}"
    offset = _offset_of_bytes(images)
    plan = Plan(
        name=entry_name(path.stem, str(path), options),
        source=str(path),
        fingerprint=hashlib.sha256(state.encode()).hexdigest(),
        rows=sum(array.shape[0] for array in images),
        image_shape=shape,
        decode=lambda rows: _chunks(rows, images, config, shape),
        in_place=None if offset is None else (path, offset),
    )
    return build_shown(store_root(config), plan)


def _offset_of_bytes(images: list[ArrayFile]) -> int | None:
    """Where the pixels begin in an .npy of uint8, which need not be copied; None: another file."""
    (array,) = images if len(images) == 1 else (None,)
    if array is None or array.member is not None or array.dtype != np.uint8:
        return None
    return array.path.stat().st_size - int(np.prod(array.shape))  # they end the file


def _in_order(arrays: Arrays) -> list[tuple[ArrayFile, ArrayFile | None]]:
    return [arrays[name] for name in ("all", *SPLITS) if name in arrays]


def _image_shape(array: ArrayFile) -> Shape:
    height, width, *channels = array.shape[1:]
    return height, width, channels[0] if channels else 1


def _chunks(
    rows: np.ndarray, images: list[ArrayFile], config: DataConfig, shape: Shape
) -> Iterator[Chunk]:
    """The wanted rows; the rows of the arrays follow each other."""
    span = None if config.range is None else (config.range[0], config.range[1])
    size = max(_CHUNK_BYTES // int(np.prod(shape)), 1)
    first = 0
    for array in images:
        wanted = rows[(rows >= first) & (rows < first + array.shape[0])] - first
        first += array.shape[0]
        if len(wanted):
            for values in read_rows(array, wanted, size):
                what = str(array.path) if array.member is None else f"{array.path}:{array.member}"
                pixels = pixels_of(values, span, what)
                yield Chunk(pixels, notes=_notes(values, pixels, span))


def _notes(
    values: np.ndarray, pixels: np.ndarray, span: tuple[float, float] | None
) -> dict[str, int]:
    """What `pixels_of` has done to images, for `tell_notes`."""
    count, kind = len(values), values.dtype.kind
    dark = int((pixels.reshape(count, -1).max(axis=1) < _DARK).sum())
    kinds = {
        "dark": dark,
        "ranged": count * (span is not None and values.dtype not in (np.uint8, bool)),
        "sixteen_bit": count * (values.dtype == np.uint16),
        "rounded": count * (span is None and kind == "f"),
    }
    return {note: times for note, times in kinds.items() if times}


def _labels(arrays: Arrays) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The labels of all rows as numbers, and the names of the classes."""
    pairs = _in_order(arrays)
    found = [read_whole(labels) for _, labels in pairs if labels is not None]
    if not found:
        return None, ()
    path = pairs[0][0].path
    if len(found) < len(pairs):
        raise InputError(f"{path} has labels for some splits only; give them for all, or for none")
    flat = [
        values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values for values in found
    ]
    count, what = sum(images.shape[0] for images, _ in pairs), f"the labels of {path}"
    return number_labels(join_labels(flat, what), count, what)
