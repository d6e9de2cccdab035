"""Images given from Python: one array, or a mapping of splits."""

import hashlib
from collections.abc import Mapping, Sequence, Sized
from typing import Any, Never

import numpy as np
from jaxtyping import Int32, UInt8

from flaxae.data import DataConfig
from flaxae.data.images import as_array, to_bytes
from flaxae.data.pixel_hash import pixel_hashes, split_by_hash
from flaxae.data.splits import SPLITS, Split
from flaxae.errors import InputError

Images = UInt8[np.ndarray, "examples height width channels"]
_MOST_CLASSES = 2**16


class ArraySource:
    """Splits of images [N, H, W] or [N, H, W, C], uint8 or floats in 0..1 (rounded to 8 bits).

    `images` is one array, which is split 80 / 10 / 10 by a hash of each image's pixels, or a
    mapping with the keys train, validation and test, whose values are arrays or `Split`s. `labels`
    has the same form: whole numbers from 0, or names.

    Raises:
        InputError: images or labels cannot be used; the message says what came.
    """

    name = "array"

    def __init__(self, images: Any, labels: Any = None) -> None:
        if isinstance(images, Mapping):
            self._splits = _from_mapping(images, labels)
        else:
            self._splits = _by_hash(to_bytes(images, "images"), labels)
        _refuse_empty(self._splits)

    def splits(self) -> dict[str, Split]:
        """The three splits, in memory."""
        return self._splits

    def digest(self) -> str:
        """The sha256 of all pixels and targets, in the order of the splits."""
        total = hashlib.sha256()
        for name in SPLITS:
            split = self._splits[name]
            total.update(f"{name} {split.images.shape}".encode())
            for array in (split.images, split.targets):
                total.update(b"none" if array is None else np.ascontiguousarray(array).data)
        return total.hexdigest()


def missing(config: DataConfig) -> Never:
    """What happens where a run of an array is opened without its images."""
    raise InputError(
        "the images of this run were given from Python; pass them again: "
        "flaxae.load(workdir, images=...), or flaxae.train(config, images=...)"
    )


def _by_hash(images: Images, labels: Any) -> dict[str, Split]:
    numbers, names = number_labels(labels, len(images), "labels")
    place = split_by_hash(pixel_hashes(images))
    rows = {name: np.flatnonzero(place == index) for index, name in enumerate(SPLITS)}
    return {
        name: Split(images[r], None if numbers is None else numbers[r], names)
        for name, r in rows.items()
    }


def _from_mapping(images: Mapping[str, Any], labels: Any) -> dict[str, Split]:
    if set(images) != set(SPLITS):
        raise InputError(
            f"images has the splits {', '.join(map(repr, images))}; expected train, validation "
            "and test, or one array to be split 80 / 10 / 10"
        )
    splits = {name: _to_split(images[name], name) for name in SPLITS}
    shapes = {name: split.image_shape for name, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"the splits have images of different shapes: {shapes}")
    parts = _labels_by_split(splits, labels)
    if parts is None:
        return splits
    for name in SPLITS:
        require_length(parts[name], len(splits[name].images), f"labels[{name!r}]")
    joined = [parts[name] for name in SPLITS]
    numbers, names = number_labels(join_labels(joined, "labels"), sum(map(len, joined)), "labels")
    assert numbers is not None
    given = splits["train"].class_names
    names = given if len(given) >= len(names) else names
    pieces = np.split(numbers, np.cumsum([len(part) for part in joined])[:-1])
    return {
        name: splits[name]._replace(labels=piece, class_names=names)
        for name, piece in zip(SPLITS, pieces, strict=True)
    }


def _labels_by_split(splits: Mapping[str, Split], labels: Any) -> dict[str, np.ndarray] | None:
    """The labels of each split, from `labels` or from the `Split`s; None if there are none."""
    if labels is None:
        labels = {n: split.labels for n, split in splits.items() if split.labels is not None}
        if not labels:
            return None
    if not isinstance(labels, Mapping):
        raise InputError(f"labels is a {type(labels).__name__}; images is a mapping, so give one")
    if set(labels) != set(SPLITS):
        raise InputError(
            f"labels has the splits {', '.join(map(repr, labels))}; expected those of images: "
            f"{', '.join(SPLITS)}"
        )
    return {name: _one_dimension(labels[name], f"labels[{name!r}]") for name in SPLITS}


def _to_split(value: Any, name: str) -> Split:
    if not isinstance(value, Split):
        return Split(to_bytes(value, f"images[{name!r}]"))
    images = to_bytes(value.images, f"images[{name!r}]")
    targets = value.targets
    if targets is not None:
        targets = to_bytes(targets, f"targets of {name!r}", images.shape[1:])
        require_length(targets, len(images), f"targets of {name!r}")
    return value._replace(images=images, targets=targets)


def join_labels(parts: Sequence[np.ndarray], what: str) -> np.ndarray:
    """The labels of all splits, one after the other.

    Raises:
        InputError: they are names in some splits and numbers in others.
    """
    if len({part.dtype.kind in "US" for part in parts if len(part)}) > 1:
        came = "names in some splits and numbers in others"
        raise InputError(f"{what} are {came}; expected one kind")
    return np.concatenate(parts)


def number_labels(
    labels: Any, count: int, what: str
) -> tuple[Int32[np.ndarray, " examples"] | None, tuple[str, ...]]:
    """Labels as numbers from 0, and the names of the classes.

    Raises:
        InputError: they are neither whole numbers from 0 nor names, or not `count`.
    """
    if labels is None:
        return None, ()
    values = _one_dimension(labels, what)
    require_length(values, count, what)
    if values.dtype.kind == "U":
        names, numbers = np.unique(values, return_inverse=True)
        return numbers.astype(np.int32), tuple(map(str, names))
    low, high = (values.min(), values.max()) if count else (0, 0)
    if values.dtype.kind not in "iu" or low < 0:
        came = f"{values.dtype} from {low}" if values.dtype.kind in "iuf" else values.dtype
        raise InputError(f"{what} are {came}; expected whole numbers from 0, or names")
    if high >= _MOST_CLASSES:
        raise InputError(f"{what} go up to {high}; expected less than {_MOST_CLASSES}")
    classes = int(high) + 1 if count else 0
    return values.astype(np.int32), tuple(map(str, range(classes)))


def _one_dimension(labels: Any, what: str) -> np.ndarray:
    if isinstance(labels, Mapping):
        raise InputError(f"{what} is a mapping, but images is one array; give one array")
    values = as_array(labels, what)
    if values.ndim != 1:
        raise InputError(f"{what} has the shape {values.shape}; expected one label an image")
    if values.dtype.kind == "S":  # byte strings
        try:
            return np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{what} are bytes that are not UTF-8; expected text") from error
    if values.dtype.kind == "T" or (
        values.dtype.kind == "O" and all(isinstance(value, str) for value in values)
    ):
        return values.astype(str)  # as pandas gives them
    return values


def require_length(values: Sized, count: int, what: str) -> None:
    """Raises InputError unless there is a value for each of `count` images."""
    if len(values) != count:
        raise InputError(f"{what} has {len(values)} entries for {count} images; give one for each")


def _refuse_empty(splits: Mapping[str, Split]) -> None:
    empty = [name for name, split in splits.items() if not len(split.images)]
    if empty:
        total = sum(len(split.images) for split in splits.values())
        raise InputError(
            f"no image is in the split {empty[0]} ({total} images in all); give more images, or "
            "a mapping with the keys train, validation and test"
        )
