"""From an entry of the store to splits: what folders and array files have in common."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8, Int32

from flaxae.data import DataConfig
from flaxae.data.file_names import counted, some
from flaxae.data.pixel_hash import split_by_hash
from flaxae.data.splits import SPLITS, Split
from flaxae.data.store.images import StoredImages
from flaxae.data.store.plan import Entry
from flaxae.errors import InputError

logger = logging.getLogger("flaxae.data")


class Contents(NamedTuple):
    """The images of a folder or a file in the store, and what their source says of each row."""

    entry: Entry
    splits: Int8[np.ndarray, " rows"] | None  # 0 train, 1 validation, 2 test; None: not said
    labels: Int32[np.ndarray, " rows"] | None
    class_names: tuple[str, ...] = ()
    files: Sequence[str] | None = None


class StoredSource:
    """A source whose images `open` puts into the store, where they are not there yet."""

    def __init__(self, config: DataConfig, open: Callable[[DataConfig], Contents]) -> None:
        self.name = config.dataset
        self._config = config
        self._open = open
        self._digest: str | None = None

    def splits(self) -> dict[str, Split]:
        """The three splits: as the source says, else 80 / 10 / 10 by a hash of the pixels.

        Raises:
            InputError: the images cannot be read, or a split is empty.
        """
        contents = self._open(self._config)
        splits = make_splits(contents)
        self._digest = content_digest(splits, contents.entry)
        return splits

    def digest(self) -> str:
        """The sha256 of all pixels and labels."""
        if self._digest is None:
            self.splits()
        assert self._digest is not None
        return self._digest


def make_splits(contents: Contents) -> dict[str, Split]:
    """The three splits of the good rows.

    A split that the source says nothing of is held out of train, by the images' hashes; so are
    validation and test if it says nothing at all.

    Raises:
        InputError: a split is empty.
    """
    good = contents.entry.good
    numbers = split_numbers(contents)
    _warn_of_copies(contents, numbers)
    _warn_of_absent_classes(contents, numbers)
    splits = {}
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero((numbers == number) & good)
        if not len(rows):
            raise InputError(
                f"no image is in the split {name} ({counted(int(good.sum()), 'image')} in all); "
                "give more images, or say the splits: by the folders train/, validation/ and "
                "test/, or by arrays of these names"
            )
        splits[name] = make_split(contents, rows)
    return splits


def whole(contents: Contents) -> Split:
    """All good rows as one split."""
    return make_split(contents, np.flatnonzero(contents.entry.good))


def make_split(contents: Contents, rows: np.ndarray) -> Split:
    """A split of these rows."""
    entry, _, labels, class_names, files = contents
    return Split(
        StoredImages(entry.images, rows),
        None if labels is None else labels[rows],
        class_names if labels is not None else (),
        None if entry.targets is None else StoredImages(entry.targets, rows),
        None if files is None else tuple(files[int(row)] for row in rows),
    )


def split_numbers(contents: Contents) -> np.ndarray:
    """The split of each row: as given, and by the images' hashes what is lacking."""
    by_hash, given = split_by_hash(contents.entry.hashes), contents.splits
    if given is None:
        return by_hash
    present = {number for number in range(len(SPLITS)) if (given == number).any()}
    movable = (given == 0) & ~np.isin(by_hash, list(present - {0}))
    return np.where(movable, by_hash, given)


def content_digest(splits: dict[str, Split], entry: Entry) -> str:
    """The sha256 of the splits' pixels and targets, by their hashes, and of their labels."""
    total = hashlib.sha256()
    for name in SPLITS:
        images, labels, class_names, *_ = splits[name]
        assert isinstance(images, StoredImages)
        total.update(f"{name} {images.shape}".encode())
        total.update(entry.hashes[images.rows].tobytes())
        if entry.targets is not None:
            total.update(entry.target_hashes[images.rows].tobytes())
        if labels is not None:
            total.update(repr(class_names).encode() + labels.tobytes())
    return total.hexdigest()


def tell_notes(config: DataConfig, entry: Entry) -> None:
    """Says once, when images were decoded, what was done to many of them."""
    if not entry.fresh:
        return
    notes, count = entry.notes, int(entry.good.sum())
    if "pages" in notes:
        logger.warning(
            "of %d files with several pages or frames, the first is taken", notes["pages"]
        )
    if "rounded" in notes:
        logger.warning("floats in 0..1 are rounded to 8 bits")
    if config.range is not None and "ranged" not in notes:
        logger.warning("--range has no effect on images of 8 bits")
    dark, deep = notes.get("dark", 0), notes.get("sixteen_bit", 0)
    if dark > max(deep or count, 1) / 2:
        what = counted(dark, "image") + " of 16 bits" * bool(deep)
        if deep and config.range is None:
            advice = "as of 12 bits in 16; try --range 0 4095"
        else:
            advice = "without a value above 15 of 255; are black and white what you mean?"
        logger.warning("%s %s nearly black, %s", what, "is" if dark == 1 else "are", advice)


def _warn_of_copies(contents: Contents, numbers: np.ndarray) -> None:
    """Says how many images are copies of others, and whether they cross splits."""
    entry, files = contents.entry, contents.files
    rows = np.flatnonzero(entry.good)
    order = rows[np.argsort(entry.hashes[rows], kind="stable")]
    same = entry.hashes[order][1:] == entry.hashes[order][:-1]
    copies = order[1:][same]
    if not len(copies):
        return
    crossing = int((numbers[order][1:] != numbers[order][:-1])[same].sum())
    named = f", such as {some(files[int(row)] for row in copies)}" if files else ""
    where = f"{crossing:,} of them in another split" if crossing else "each in the same split"
    what = "image has" if len(copies) == 1 else "images have"
    logger.warning("%s %s the pixels of another%s; %s", f"{len(copies):,}", what, named, where)


def _warn_of_absent_classes(contents: Contents, numbers: np.ndarray) -> None:
    entry, _, labels, class_names, _ = contents
    if labels is None:
        return
    for number, name in enumerate(SPLITS):
        chosen = labels[(numbers == number) & entry.good]
        present = np.bincount(chosen, minlength=len(class_names))
        absent = [class_names[label] for label in np.flatnonzero(present == 0)]
        if absent and len(absent) < len(class_names):
            what = f"{len(absent)} of {len(class_names)} classes, such as {some(absent)}"
            logger.warning("the split %s has no image of %s", name, what)
