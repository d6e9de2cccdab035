"""What a folder of images holds: files, classes and splits, without opening an image."""

import os
import stat
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8, Int32, Int64

from flaxae.data.file_names import counted, printable, some
from flaxae.data.sources.labels_csv import UNLABELED, csv_classes
from flaxae.data.splits import SPLITS
from flaxae.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_SILENT = frozenset(("__MACOSX", "Thumbs.db"))  # left by file managers; no images of the user
_ALIASES = {"train": 0, "validation": 1, "val": 1, "valid": 1, "test": 2}
# Whoever has only folders of these names means splits, not classes.
_LOOKALIKES = frozenset((*_ALIASES, "training", "testing"))
_INT64 = np.iinfo(np.int64)


class Listing(NamedTuple):
    """The image files of a folder, and what the folders or a labels.csv say of each."""

    source: Path  # what was asked for: the folder, or a single file in it
    root: Path
    files: tuple[str, ...]  # relative paths with "/", in the order of the rows
    stats: Int64[np.ndarray, "files 2"]  # size in bytes, time of the last change in ns
    labels: Int32[np.ndarray, " files"] | None
    class_names: tuple[str, ...]  # empty if there are no labels
    splits: Int8[np.ndarray, " files"] | None  # rows of SPLITS; None: the folders do not say
    remarks: tuple[str, ...]  # sentences to tell the user once


def list_folder(root: Path, labels_csv: Path | None = None) -> Listing:
    """The images below `root`, sorted by split, then by file name, then by path.

    Sub-folders named train, validation (or val, or valid) and test are splits. A validation or
    test split that is missing has no row in `splits`: the caller takes it from train. Other
    sub-folders, of the root or of a split, are classes. With `labels_csv`, a file with the columns
    file and label, the folders do not say the class; images without a label get the class
    "unlabeled". Names that are not UTF-8 are kept as `os.fsdecode` gives them.

    Raises:
        InputError: there is no such folder or no image in it, a folder or the labels cannot be
            read, or the folders are neither splits nor classes.
    """
    if not os.path.isdir(root):
        came = "is a file" if os.path.lexists(root) else "does not exist"
        raise InputError(f"{printable(root)} {came}; expected a folder of images")
    found = _walk(str(root))
    remarks = _remarks(found, str(root), labels_csv)
    _require_images(root, found.files, remarks)
    numbers = _split_numbers(str(root), found.files)
    if labels_csv is None:
        labels = _folder_classes(str(root), found.files, depth=1 if numbers else 0)
    else:
        labels, more = csv_classes(labels_csv, found.files)
        remarks += more
    last = None if labels_csv is None else UNLABELED
    splits = [numbers[file.partition("/")[0]] for file in found.files] if numbers else None
    return _listing(root, found, labels, splits, remarks, last)


def list_images(path: Path) -> Listing:
    """The images below a folder, or one image file, as commands that read a run take them.

    Sub-folders are classes if all images are in one, below train, validation and test if there are
    these; all splits are taken together.

    Raises:
        InputError: there is no image, or a folder cannot be read.
    """
    if path.is_file():
        status = path.stat()
        time = _clipped(status.st_mtime_ns)
        found = _Found([path.name], array("q", (status.st_size, time)), [], [], [], [])
        return _listing(path.parent, found, None, None, [], None)._replace(source=path)
    if not path.is_dir():
        raise InputError(f"{printable(path)} does not exist; expected a folder or file of images")
    found = _walk(str(path))
    remarks = _remarks(found, str(path), None)
    _require_images(path, found.files, remarks)
    tops = {_folder_at(file, 0) for file in found.files}
    are_splits = "train" in tops and tops <= _ALIASES.keys()
    classes = [_folder_at(file, 1 if are_splits else 0) for file in found.files]
    labels = [name for name in classes if name is not None]
    whole = labels if len(labels) == len(found.files) else None
    return _listing(path, found, whole, None, remarks, None)


def _require_images(root: Path, files: Sequence[str], remarks: Sequence[str]) -> None:
    if not files:
        held = f" ({' '.join(remarks)})" if remarks else ""
        raise InputError(
            f"{printable(root)} holds no image{held}; expected files that end in "
            f"{', '.join(SUFFIXES)}"
        )


def _listing(
    root: Path,
    found: "_Found",
    labels: Sequence[str] | None,
    splits: Sequence[int] | None,
    remarks: Sequence[str],
    last: str | None,
) -> Listing:
    """The files in their order; the class `last` is the last one."""
    names = sorted(set(labels or ()), key=lambda name: (name == last, name))
    order = _order(found.files, splits)
    label_rows = {name: row for row, name in enumerate(names)}
    return Listing(
        source=root,
        root=root,
        files=tuple(found.files[i] for i in order),
        stats=np.array(found.stats, np.int64).reshape(-1, 2)[order],
        labels=np.array([label_rows[labels[i]] for i in order], np.int32) if labels else None,
        class_names=tuple(names),
        splits=np.array(splits, np.int8)[order] if splits else None,
        remarks=tuple(remarks),
    )


class _Found(NamedTuple):
    """What a walk meets; all paths are relative to its root."""

    files: list[str]
    stats: array  # size and time of each file, one after the other
    folders: list[str]  # of the first two levels: those that can be splits or classes
    others: list[str]
    links: list[str]  # symbolic links that are not followed
    special: list[str]  # pipes, sockets and devices named like an image


def _walk(root: str) -> _Found:
    """All files below the root, in any order.

    A loop over pending folders, so that depth is unlimited; plain text and one stat a file, so
    that a million files need little memory and time.
    """
    found = _Found([], array("q"), [], [], [], [])
    real_root = os.path.join(os.path.realpath(root), "")
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if _take(entry, path, real_root, found):
                        pending.append(path)
        except OSError as error:
            name = printable(folder or root)
            raise InputError(
                f"the folder {name} cannot be read ({error.strerror}); expected a folder of "
                "images: allow reading it, or move it elsewhere"
            ) from error
    return found


def _take(entry: os.DirEntry[str], path: str, real_root: str, found: _Found) -> bool:
    """Adds the entry to what was found; True if it is a folder to look into."""
    if entry.name.startswith(".") or entry.name in _SILENT:
        return False
    is_image = os.path.splitext(entry.name)[1].lower() in SUFFIXES
    if entry.is_symlink():
        status = _linked_file(entry.path, real_root)
        if status is None:
            found.links.append(path)
            return False
    elif entry.is_dir(follow_symlinks=False):
        if path.count("/") < 2:
            found.folders.append(path)
        return True
    else:
        status = entry.stat(follow_symlinks=False) if is_image else None
    if status is None or not is_image:
        found.others.append(path)
    elif not stat.S_ISREG(status.st_mode):
        found.special.append(path)
    else:
        found.files.append(path)
        found.stats.extend((status.st_size, _clipped(status.st_mtime_ns)))
    return False


def _clipped(time: int) -> int:
    return min(max(time, int(_INT64.min)), int(_INT64.max))


def _linked_file(link: str, real_root: str) -> os.stat_result | None:
    """The file that a symbolic link leads to; None if it is no file inside the root."""
    try:
        status = os.stat(link)
    except OSError:  # broken, or a loop
        return None
    inside = os.path.realpath(link).startswith(real_root)
    return None if stat.S_ISDIR(status.st_mode) or not inside else status


def _remarks(found: _Found, root: str, labels_csv: Path | None) -> list[str]:
    real_root = os.path.realpath(root)
    own = None if labels_csv is None else os.path.realpath(labels_csv)
    others = [path for path in found.others if os.path.join(real_root, path) != own]
    return [
        f"{counted(len(paths), noun)} {verb}, such as {some(paths)}."
        for paths, noun, verb in (
            (others, "file", "of other kinds left out"),
            (found.links, "symbolic link", "not followed"),
            (found.special, "special file", "left out"),
            (_empty_folders(found), "folder", "without images"),
        )
        if paths
    ]


def _empty_folders(found: _Found) -> list[str]:
    """The folders in the place of a split or class that hold no image."""
    used = {""}
    for file in found.files:
        first, _, rest = file.partition("/")
        used.update((first, f"{first}/{rest.partition('/')[0]}"))
    top_are_splits = any(file.startswith("train/") for file in found.files)
    return [
        path
        for path in found.folders
        if path not in used
        and path.count("/") <= top_are_splits
        and path.rpartition("/")[0] in used
    ]


def _split_numbers(root: str, files: Sequence[str]) -> dict[str, int]:
    """The row in SPLITS of each sub-folder of the root; {} if they are no splits."""
    tops = {file.partition("/")[0] for file in files if "/" in file}
    loose = [file for file in files if "/" not in file]
    if "train" not in tops:
        if tops and not loose and all(top.lower() in _LOOKALIKES for top in tops):
            raise InputError(
                f"{printable(root)} holds only the folders {some(tops)}, which are named like "
                "splits but lack train; name them train, validation and test, or give the path "
                "of one of them"
            )
        return {}
    beside = [*loose, *(tops - _ALIASES.keys())]
    if beside:
        raise InputError(
            f"{printable(root)} holds images beside the split train, such as {some(beside)}; "
            f"expected only {', '.join(SPLITS)}: move them there, or rename train if it is a class"
        )
    numbers = {top: _ALIASES[top] for top in tops}
    twice = [top for top, row in numbers.items() if list(numbers.values()).count(row) > 1]
    if twice:
        raise InputError(
            f"{printable(root)} holds the folders {some(twice)}, which mean one split; "
            "expected one of them: join them"
        )
    return numbers


def _folder_classes(root: str, files: Sequence[str], depth: int) -> list[str] | None:
    """The class of each file: its folder below `depth` folders; None if no file is in one."""
    classes = [_folder_at(file, depth) for file in files]
    loose = [file for file, name in zip(files, classes, strict=True) if name is None]
    if len(loose) == len(files):
        return None
    if loose:
        raise InputError(
            f"{printable(root)} has class folders, and {counted(len(loose), 'image')} outside of "
            f"them, such as {some(loose)}; move them into a class folder, or give --labels"
        )
    return [name for name in classes if name is not None]


def _folder_at(file: str, depth: int) -> str | None:
    """The folder of a file that is below `depth` other folders."""
    parts = file.split("/", depth + 1)
    return parts[depth] if len(parts) == depth + 2 else None


def _order(files: Sequence[str], splits: Sequence[int] | None) -> list[int]:
    """The rows by split, then file name, then path, all by code point."""

    def key(row: int) -> tuple[int, str, str]:
        file = files[row]
        return (splits[row] if splits else 0, file[file.rfind("/") + 1 :], file)

    return sorted(range(len(files)), key=key)
