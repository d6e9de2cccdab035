"""The rows of an entry that is being written: decoded, or copied from what is there already."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxae.data.pixel_hash import pixel_hashes
from flaxae.data.store.files import (
    BAD,
    GOOD,
    IMAGES,
    RECORD,
    ROWS,
    TARGETS,
    TODO,
    UNREADABLE,
    read,
    read_description,
    record_checks,
)
from flaxae.data.store.images import Checksums
from flaxae.data.store.plan import Chunk, Plan
from flaxae.errors import RunError

Progress = Callable[[int, int], None]  # rows done, rows in all
_COPY_ROWS = 4096


class Writer:
    """Puts chunks into their rows, each image before the record that says that it is there."""

    def __init__(
        self, scratch: Path, files: dict[str, int], records: Any, plan: Plan, progress: Progress
    ) -> None:
        self.plan, self.records = plan, records
        self._files, self._progress = files, progress
        self._bytes = int(np.prod(plan.image_shape))
        self._remarks = scratch / "remarks.jsonl"
        # Of use where all rows come in order; else they are made from the file.
        self.checksums = Checksums((plan.rows, *plan.image_shape))

    def decode(self) -> None:
        """Decodes and writes all rows that are still to be done."""
        todo = np.flatnonzero(self.records["state"] == TODO)
        done, in_order = len(self.records) - len(todo), len(todo) == len(self.records)
        for chunk in self.plan.decode(todo):
            rows, todo = np.split(todo, [len(chunk.images)])
            self.add(chunk, rows)
            done += len(rows)
            self._progress(done, self.plan.rows)
            if in_order:
                self.checksums.add(chunk.images)

    def add(self, chunk: Chunk, rows: np.ndarray) -> None:
        """Writes a chunk to `rows`."""
        count = len(chunk.images)
        new = np.zeros(count, RECORD)
        new["state"] = GOOD
        new["state"][list(chunk.bad)] = BAD
        new["hash"] = pixel_hashes(chunk.images)
        if self.plan.identities is not None:
            new["identity"] = self.plan.identities[rows]
        if chunk.labels is not None:
            new["label"] = chunk.labels
        if chunk.targets is not None:
            new["target_hash"] = pixel_hashes(chunk.targets)
        for name, descriptor in self._files.items():
            array = chunk.images if name == IMAGES else chunk.targets
            assert array is not None
            for first, last in _runs(rows):
                part = np.ascontiguousarray(array[first:last])
                _write_all(descriptor, part, int(rows[first]) * self._bytes)
        if chunk.bad or chunk.notes:
            bad = {str(rows[place]): why for place, why in chunk.bad.items()}
            with open(self._remarks, "a") as file:
                file.write(json.dumps({"bad": bad, "notes": dict(chunk.notes)}) + "\n")
        new["check"] = record_checks(new)
        self.records[rows] = new


def own_files(plan: Plan) -> list[str]:
    """The files of pixels that the entry has of its own."""
    own = [] if plan.in_place else [IMAGES]
    return [*own, TARGETS] if plan.has_targets else own


def trust_verified(records: Any, plan: Plan, files: dict[str, int]) -> None:
    """Resets records of an interrupted build that are damaged, or whose pixels are not there."""
    known = records["state"] != TODO
    records["state"][known & (records["check"] != record_checks(records))] = TODO
    if IMAGES not in files:
        return
    done = np.flatnonzero(records["state"] == GOOD)
    shape, size = plan.image_shape, int(np.prod(plan.image_shape))
    for row in done.tolist():
        for name, field in ((IMAGES, "hash"), (TARGETS, "target_hash")):
            if name in files:
                pixels = np.frombuffer(os.pread(files[name], size, row * size), np.uint8)
                if pixel_hashes(pixels.reshape(1, *shape))[0] != records[field][row]:
                    records["state"][row] = TODO


def copy_known(folder: Path, writer: Writer) -> None:
    """Copies the rows that an older entry of the same folder has."""
    plan = writer.plan
    if plan.identities is None or plan.in_place:
        return
    try:
        old = read(folder, read_description(folder))
        records = np.load(folder / ROWS, mmap_mode="r")
    except UNREADABLE:
        return
    if old.images.shape[1:] != plan.image_shape or (old.targets is not None) != plan.has_targets:
        return

    def chunk(rows: np.ndarray) -> Chunk:
        targets = None if old.targets is None else old.targets.read(rows)
        return Chunk(old.images.read(rows), targets, old.labels[rows])

    _copy(records, np.flatnonzero(old.good), chunk, writer)


def copy_interrupted(other: Path, writer: Writer) -> None:
    """Copies the rows that an interrupted build of the folder, as it was before, has decoded."""
    plan = writer.plan
    if plan.identities is None or plan.in_place or not other.is_dir():
        return
    with contextlib.ExitStack() as opened:
        try:
            records = np.load(other / ROWS, mmap_mode="c")
            shape = (len(records), *plan.image_shape)
            names = own_files(plan)
            pixels = {name: np.memmap(other / name, np.uint8, "r", 0, shape) for name in names}
            files = {name: os.open(other / name, os.O_RDONLY | os.O_CLOEXEC) for name in names}
        except UNREADABLE:
            return
        for descriptor in files.values():
            opened.callback(os.close, descriptor)
        if records.dtype != RECORD:
            return
        trust_verified(records, plan, files)

        def chunk(rows: np.ndarray) -> Chunk:
            images, *targets = (pixels[name][rows] for name in names)
            return Chunk(images, *targets, labels=records["label"][rows])

        _copy(records, np.flatnonzero(records["state"] == GOOD), chunk, writer)


def _copy(
    old_records: Any, usable: np.ndarray, chunk: Callable[[np.ndarray], Chunk], writer: Writer
) -> None:
    """Copies those usable old rows whose identities the plan has and that are still to be done."""
    identities, records = writer.plan.identities, writer.records
    assert identities is not None
    at = dict(zip(old_records["identity"][usable].tolist(), usable.tolist(), strict=True))
    todo = np.flatnonzero(records["state"] == TODO).tolist()
    pairs = [(row, at[int(identities[row])]) for row in todo if int(identities[row]) in at]
    for first in range(0, len(pairs), _COPY_ROWS):
        new_rows, old_rows = np.array(pairs[first : first + _COPY_ROWS]).T
        with contextlib.suppress(RunError):  # damaged rows are decoded again
            writer.add(chunk(old_rows), new_rows)


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of places whose rows follow each other, so that each is one write."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    edges = [0, *breaks.tolist(), len(rows)]
    yield from itertools.pairwise(edges)


def _write_all(descriptor: int, array: np.ndarray, offset: int) -> None:
    view = memoryview(array.data).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
