"""A split: images with what is known of each, and how to choose among them."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from flaxae.data.file_names import printable
from flaxae.data.store.images import StoredImages
from flaxae.errors import InputError, similar

SPLITS = ("train", "validation", "test")
Shape = tuple[int, int, int]  # height, width, channels
# uint8; images that a user gives to be evaluated may be float32 in 0..1
Pixels = Shaped[np.ndarray, "examples height width channels"] | StoredImages


class Split(NamedTuple):
    """Images in memory or memory-mapped, and what is known of each.

    Example:
        >>> noisy, clean = images[:20], images[20:40]
        >>> flaxae.Split(noisy, targets=clean).labels is None
        True
    """

    images: Pixels
    labels: Int32[np.ndarray, " examples"] | None = None
    class_names: tuple[str, ...] = ()  # empty if there are no labels
    targets: Pixels | None = None  # what is to be reconstructed; None: the images
    files: tuple[str, ...] | None = None  # where each image comes from, if from a file of its own

    @property
    def image_shape(self) -> Shape:
        """Height, width and channels."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def gather(self, rows: Int32[np.ndarray, " batch"]) -> Shaped[np.ndarray, "batch _ _ _"]:
        """The images of these rows, in memory."""
        return self.images[rows]

    def first(self, count: int | None) -> "Split":
        """The first `count` examples, or all; nothing is read."""
        files = None if self.files is None else self.files[:count]
        return self._part(slice(count))._replace(files=files)

    def take(self, rows: Int[np.ndarray, " some"]) -> "Split":
        """The examples of these rows, in their order; what is in a file is not read."""
        files = None if self.files is None else tuple(self.files[int(row)] for row in rows)
        return self._part(rows)._replace(files=files)

    def _part(self, key: Any) -> "Split":
        """Some examples, without their files."""
        return Split(
            _part(self.images, key),
            None if self.labels is None else self.labels[key],
            self.class_names,
            None if self.targets is None else _part(self.targets, key),
        )


def limit_training(splits: Mapping[str, Split], limit: int | None) -> Mapping[str, Split]:
    """The splits, with at most the first `limit` examples of train."""
    train = splits.get("train")
    if limit is None or train is None or len(train.images) <= limit:
        return splits
    return {**splits, "train": train.first(limit)}


def keep_classes(splits: Mapping[str, Split], classes: Sequence[str]) -> Mapping[str, Split]:
    """The splits, with only the images of these classes in train and validation; () keeps all.

    Test stays whole, so that it can tell what a model makes of other classes.

    Raises:
        InputError: there are no labels, or no such class, or a split has no image of them.
    """
    if not classes:
        return splits
    kept = dict(splits)
    for name in set(splits) - {"test"}:
        split = splits[name]
        rows = np.flatnonzero(in_classes(split, classes, "--classes"))
        if not len(rows):
            texts = ", ".join(map(printable, classes))
            raise InputError(f"--classes got {texts}; the split {name} has no image of that")
        kept[name] = split.take(rows)
    return kept


def in_classes(split: Split, classes: Sequence[str], flag: str) -> Bool[np.ndarray, " examples"]:
    """Whether each example is of one of the classes, given by their names or numbers.

    Raises:
        InputError: there are no labels, or no such class; the message names `flag`.
    """
    if split.labels is None:
        raise InputError(f"{flag} got {printable(classes[0])}, and the images have no labels")
    names = split.class_names
    wanted = []
    for text in classes:
        is_number = text.isdecimal() and len(text) < 10 and int(text) < len(names)
        if text not in names and not is_number:
            known = ", ".join(map(printable, names[:20])) + ", ..." * (len(names) > 20)
            raise InputError(
                f"{flag} got {printable(text)}; expected names or numbers of classes among "
                f"{known}{similar(text, names)}"
            )
        wanted.append(names.index(text) if text in names else int(text))
    return np.isin(split.labels, wanted)


def select(splits: Mapping[str, Split], name: str) -> Split:
    """One split, or with "all" the three of them one after the other.

    Raises:
        InputError: there is no such split.
    """
    if name != "all":
        if name not in splits:
            raise InputError(f"split got {name!r}; expected one of {', '.join(splits)}, all")
        return splits[name]
    parts = [splits[split] for split in SPLITS]
    labels = [part.labels for part in parts if part.labels is not None]
    labeled = len(labels) == len(parts)
    targets = [part.images if part.targets is None else part.targets for part in parts]
    have_targets = any(part.targets is not None for part in parts)
    files = [part.files for part in parts if part.files is not None]
    return Split(
        _join([part.images for part in parts]),
        np.concatenate(labels) if labeled else None,
        parts[0].class_names if labeled else (),
        _join(targets) if have_targets else None,
        tuple(itertools.chain(*files)) if len(files) == len(parts) else None,
    )


def _part(images: np.ndarray | StoredImages, key: Any) -> Any:
    return images.part(key) if isinstance(images, StoredImages) else images[key]


def _join(parts: Sequence[np.ndarray | StoredImages]) -> Any:
    """One part after the other; a view where all are in one file."""
    stored = [part for part in parts if isinstance(part, StoredImages)]
    joined = StoredImages.join(stored) if len(stored) == len(parts) else None
    return np.concatenate([np.asarray(part) for part in parts]) if joined is None else joined


def pick_examples(labels: Int32[np.ndarray, " examples"] | None, count: int) -> list[int]:
    """Rows of `count` examples to draw: one of each class in turn if there are labels."""
    if labels is None:
        return list(range(count))
    by_class = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    deepest = max(map(len, by_class))
    rows = [int(group[turn]) for turn in range(deepest) for group in by_class if turn < len(group)]
    return rows[:count]
