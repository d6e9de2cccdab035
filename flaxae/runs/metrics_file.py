"""metrics.jsonl: an object for each epoch that a checkpoint holds.

Each checkpoint has a copy of all lines, so that the file can be written again from there.
"""

import contextlib
import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from flaxae.data.atomic import write_atomically
from flaxae.runs.workdir import METRICS
from flaxae.training.loop import Record

_MOST_BYTES = 1 << 30


class MetricsFile:
    """The file in a run's folder; one process writes it."""

    def __init__(self, workdir: Path) -> None:
        self._path = workdir / METRICS
        self._written = b""  # what this process knows to be in the file

    def write(self, history: Sequence[Record]) -> None:
        """Makes the file hold these epochs; if that fails, it stays as it was."""
        content = _lines(history)
        if self._written and content.startswith(self._written) and self._is_as_written():
            _append(self._path, content[len(self._written) :])
        else:
            write_atomically(self._path, content)
        self._written = content

    def _is_as_written(self) -> bool:
        return self._path.is_file() and self._path.stat().st_size == len(self._written)


def read_lines(workdir: Path) -> tuple[list[dict[str, int | float]], str | None]:
    """The epochs that can be read, each once and in order, and what is wrong with the file."""
    path = workdir / METRICS
    try:
        if path.stat().st_size > _MOST_BYTES:
            return [], f"it has more than {_MOST_BYTES:,} bytes"
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], None
    except OSError as error:
        return [], f"it cannot be read ({error.strerror})"
    records: dict[int, dict[str, int | float]] = {}
    faults = []
    for number, line in enumerate(lines, start=1):
        try:
            record = msgspec.convert(json.loads(line), dict[str, int | float])
            epoch = msgspec.convert(record.get("epoch"), int)
        except (ValueError, RecursionError):
            faults.append(f"line {number} is not the record of an epoch")
            continue
        if epoch != number:
            faults.append(f"line {number} is of epoch {epoch}")
        records.setdefault(epoch, record)
    return [records[epoch] for epoch in sorted(records)], faults[0] if faults else None


def whole_history(
    workdir: Path, epochs: int, copy: list[dict[str, Any]] | None
) -> tuple[list[dict[str, Any]], str | None]:
    """The records of the first epochs, and a remark if the file has others.

    `copy` is what a checkpoint has of them; one of flaxae 0.1 has nothing. A file that ends before
    the copy does is as a kill leaves it.
    """
    records, fault = read_lines(workdir)
    found = [record for record in records if record["epoch"] <= epochs]
    if copy is not None:
        if fault is None and found == copy[: len(found)]:
            return copy, None
        fault = fault or "its numbers are not those of the checkpoint"
        return copy, f"{METRICS} is damaged: {fault}; its epochs come from the checkpoint"
    lost = sorted(set(range(1, epochs + 1)) - {int(record["epoch"]) for record in found})
    if lost:
        fault = fault or "it ends too early"
        names = ", ".join(map(str, lost[:9])) + (", ..." if len(lost) > 9 else "")
        return found, f"{METRICS} is damaged: {fault}; the record of epoch {names} is lost"
    return found, None


def _lines(history: Sequence[Record]) -> bytes:
    return "".join(json.dumps(dict(record)) + "\n" for record in history).encode()


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                file.truncate(size)
            error.filename = str(path)
            raise
