"""From an entry of the store to splits: what folders and array files have in common."""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int8, Int32

from flaxae.data.file_names import some
from flaxae.data.pixel_hash import split_by_hash
from flaxae.data.splits import SPLITS, Split
from flaxae.data.store.images import StoredImages
from flaxae.data.store.plan import Entry
from flaxae.errors import InputError

logger = logging.getLogger("flaxae.data")


def make_splits(
    entry: Entry,
    given: Int8[np.ndarray, " rows"] | None,
    labels: Int32[np.ndarray, " rows"] | None,
    class_names: tuple[str, ...],
    files: Sequence[str] | None,
) -> dict[str, Split]:
    """The three splits of an entry's good rows.

    `given` is the split of each row (0 train, 1 validation, 2 test), as folders or names say it; a
    split that it lacks is held out of train, by the images' hashes. None: so are all.

    Raises:
        InputError: a split is empty.
    """
    numbers = split_numbers(entry, given)
    _warn_of_copies(entry, numbers, files)
    _warn_of_absent_classes(numbers, entry.good, labels, class_names)
    splits = {}
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero((numbers == number) & entry.good)
        if not len(rows):
            raise InputError(
                f"no image is in the split {name} ({int(entry.good.sum())} images in all); give "
                "more images, or put some into the folders train/, validation/ and test/"
            )
        splits[name] = make_split(entry, rows, labels, class_names, files)
    return splits


def make_split(
    entry: Entry,
    rows: np.ndarray,
    labels: Int32[np.ndarray, " rows"] | None,
    class_names: tuple[str, ...],
    files: Sequence[str] | None,
) -> Split:
    """A split of these rows."""
    return Split(
        StoredImages(entry.images, rows),
        None if labels is None else labels[rows],
        class_names if labels is not None else (),
        None if entry.targets is None else StoredImages(entry.targets, rows),
        None if files is None else tuple(files[int(row)] for row in rows),
    )


def split_numbers(entry: Entry, given: Int8[np.ndarray, " rows"] | None) -> np.ndarray:
    """The split of each row: as given, and by the images' hashes what is lacking."""
    by_hash = split_by_hash(entry.hashes)
    if given is None:
        return by_hash
    present = {number for number in range(len(SPLITS)) if (given == number).any()}
    movable = (given == 0) & ~np.isin(by_hash, list(present - {0}))
    return np.where(movable, by_hash, given)


def content_digest(splits: dict[str, Split], entry: Entry) -> str:
    """The sha256 of the splits' pixels and targets, by their hashes, in order."""
    total = hashlib.sha256()
    for name in SPLITS:
        images = splits[name].images
        assert isinstance(images, StoredImages)
        total.update(f"{name} {images.shape}".encode())
        total.update(entry.hashes[images.rows].tobytes())
        if entry.targets is not None:
            total.update(entry.target_hashes[images.rows].tobytes())
    return total.hexdigest()


def _warn_of_copies(entry: Entry, numbers: np.ndarray, files: Sequence[str] | None) -> None:
    """Says how many images are copies of others, and whether they cross splits."""
    rows = np.flatnonzero(entry.good)
    order = rows[np.argsort(entry.hashes[rows], kind="stable")]
    same = entry.hashes[order][1:] == entry.hashes[order][:-1]
    copies = order[1:][same]
    if not len(copies):
        return
    crossing = int((numbers[order][1:] != numbers[order][:-1])[same].sum())
    named = f", such as {some(files[int(row)] for row in copies)}" if files else ""
    where = f"{crossing:,} of them in another split" if crossing else "each in the same split"
    logger.warning("%s images have the pixels of another%s; %s", f"{len(copies):,}", named, where)


def _warn_of_absent_classes(
    numbers: np.ndarray,
    good: Bool[np.ndarray, " rows"],
    labels: np.ndarray | None,
    class_names: tuple[str, ...],
) -> None:
    if labels is None:
        return
    for number, name in enumerate(SPLITS):
        present = np.bincount(labels[(numbers == number) & good], minlength=len(class_names))
        absent = [class_names[label] for label in np.flatnonzero(present == 0)]
        if absent and len(absent) < len(class_names):
            what = f"{len(absent)} of {len(class_names)} classes, such as {some(absent)}"
            logger.warning("the split %s has no image of %s", name, what)
