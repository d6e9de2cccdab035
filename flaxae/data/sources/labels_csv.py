"""The classes of images that a labels.csv gives."""

import csv
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from flaxae.data.file_names import counted, printable, some
from flaxae.errors import InputError

UNLABELED = "unlabeled"
_MOST_BYTES = 10**9
_MOST_LINE = 2**20  # characters; more is no list of files
_HINTS = {  # by a header without blanks, in small letters
    "file;label": " (separated by a comma)",
    "file\tlabel": " (separated by a comma)",
    "label,file": " (in this order)",
    "file,label": " (without blanks, in small letters)",
}
_ESCAPED_BYTE = re.compile("[\ud800-\udfff]")  # what surrogateescape makes of bytes not UTF-8


def csv_classes(path: Path, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """The class of each file, and remarks about rows and files that do not match."""
    given = read_labels(path)
    classes = [given.get(file, UNLABELED) for file in files]
    without = [file for file in files if file not in given]
    unused = given.keys() - set(files)
    shown = printable(path)
    if len(without) == len(files):
        rows = f"names {some(unused)}" if unused else "has no rows"
        raise InputError(
            f"{shown} {rows}, and none of the images, such as {some(files)}; expected paths "
            "relative to the folder, with their suffix"
        )
    remarks = []
    if without:
        number = counted(len(without), "image")
        remarks.append(
            f"{number} without a row in {shown}, now of the class {UNLABELED}, such as "
            f"{some(without)}."
        )
    if unused:
        number = counted(len(unused), "label")
        remarks.append(f"{number} without a file in {shown}, such as {some(unused)}.")
    return classes, remarks


def read_labels(path: Path) -> dict[str, str]:
    """The label of each file that a CSV file with the columns file and label names.

    A "./" before a file, blanks around a label, and empty lines are left out.

    Raises:
        InputError: the file cannot be read, or is no such table; the message gives the line.
    """
    name = printable(path)
    labels: dict[str, str] = {}
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise InputError(f"{name} is no file of at most 1 GB; expected a labels.csv")
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for line, row in _csv_rows(file, name):
                _add_label(labels, row, f"{name}, line {line}:")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name} cannot be read ({reason}); expected a labels.csv") from error
    return labels


def _csv_rows(file: TextIO, name: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line and the fields of each row after the header."""
    rows = csv.reader(_checked_lines(file, name), strict=True)
    try:
        _require_header(next(rows, None), name)
        for row in rows:
            if row:  # not an empty line
                yield rows.line_num, row
    except csv.Error as error:
        raise InputError(
            f"{name}, line {rows.line_num}: {error}; expected CSV with the columns file,label"
        ) from error


def _checked_lines(file: TextIO, name: str) -> Iterator[str]:
    """The lines of a file that was opened with surrogateescape."""
    for number, line in enumerate(iter(lambda: file.readline(_MOST_LINE), ""), 1):
        if len(line) == _MOST_LINE:
            raise InputError(f"{name}, line {number} has no end; expected lines of file,label")
        if "\0" in line or _ESCAPED_BYTE.search(line):
            raise InputError(
                f"{name}, line {number}: a byte that is not UTF-8 text; save the file as UTF-8"
            )
        yield line


def _require_header(header: list[str] | None, name: str) -> None:
    if header != ["file", "label"]:
        came = "is empty" if header is None else f"has the header {printable(','.join(header))}"
        hint = _HINTS.get(",".join(header or ()).lower().replace(" ", ""), "")
        raise InputError(
            f"{name} {came}; expected the two columns file,label in its first line{hint}"
        )


def _add_label(labels: dict[str, str], row: list[str], where: str) -> None:
    file, label = (row[0], row[1].strip()) if len(row) == 2 else ("", "")
    while file.startswith("./"):
        file = file[2:]
    if not file or not label:
        raise InputError(
            f"{where} got {printable(','.join(row))}; expected a file and a label, both not empty"
        )
    if labels.setdefault(file, label) != label:
        raise InputError(
            f"{where} {printable(file)} is {printable(label)}, and was {printable(labels[file])} "
            "before; expected one label a file"
        )
