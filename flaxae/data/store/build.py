"""Writes an entry of the store: decodes what it lacks, and goes on after a kill."""

import contextlib
import fcntl
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxae.data.pixel_hash import pixel_hashes
from flaxae.data.sizes import size_text
from flaxae.data.store.files import (
    BAD,
    GOOD,
    IMAGES,
    MARKER,
    RECORD,
    ROWS,
    TARGETS,
    TODO,
    UNREADABLE,
    describe,
    find,
    read,
    read_description,
    record_checks,
)
from flaxae.data.store.images import Checksums
from flaxae.data.store.plan import Chunk, Entry, Plan
from flaxae.errors import InputError, RunError

logger = logging.getLogger("flaxae.data")
PARTIAL = ".partial"  # suffix of an entry that is being written
_OLD = ".old"
OTHER = ".other"  # what an interrupted call has decoded of other images, as of the changed folder
_COPY_ROWS = 4096


Progress = Callable[[int, int], None]  # rows done, rows in all


def build(root: Path, plan: Plan, progress: Progress = lambda done, count: None) -> Entry:
    """The entry of `plan`, decoded now if the store does not hold it.

    Another process that builds it is waited for. What an interrupted call has decoded is kept, and
    rows whose identity an older entry has are copied.

    Raises:
        InputError: the disk lacks the room, or the store cannot be written.
        RunError: the disk fills up on the way.
    """
    with _lock(root, plan.name):
        found = find(root, plan.name, plan.fingerprint)
        if found is not None:
            return found
        folder, scratch = root / plan.name, root / (plan.name + PARTIAL)
        other = root / (plan.name + OTHER)
        with _faults_in(root), _gone_if_refused(scratch), contextlib.ExitStack() as opened:
            records = _open_records(scratch, other, plan)
            files = {name: _open_images(scratch / name, plan) for name in _own_files(plan)}
            for descriptor in files.values():
                opened.callback(os.close, descriptor)
            writer = _Writer(scratch, files, records, plan, progress)
            _trust_verified(records, plan, files)
            _copy_known(folder, writer)
            _copy_interrupted(other, writer)
            writer.decode()
            records.flush()
            describe(scratch, plan, records, writer.checksums.values())
            _replace(scratch, folder)
            shutil.rmtree(other, ignore_errors=True)
    entry = find(root, plan.name, plan.fingerprint)
    if entry is None:
        raise RunError(f"{folder} was written just now and cannot be read; is its disk sound?")
    return entry._replace(fresh=True)


class _Writer:
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


def _open_records(scratch: Path, other: Path, plan: Plan) -> Any:
    """The records of a build, those of an interrupted one if it is of the same images.

    An interrupted build of other images becomes `other`.
    """
    marker = scratch / "fingerprint"
    path = scratch / ROWS
    with contextlib.suppress(OSError, ValueError):
        if marker.read_text() == plan.fingerprint:
            records = np.lib.format.open_memmap(path, "r+")
            if records.shape == (plan.rows,) and records.dtype == RECORD:
                return records
    if (scratch / MARKER).exists():
        shutil.rmtree(other, ignore_errors=True)
        if plan.identities is None:
            shutil.rmtree(scratch)
        else:
            scratch.rename(other)
    _require_room(scratch.parent, plan)
    scratch.mkdir(parents=True)
    (scratch / MARKER).touch()
    # Written, not only sized: a mapped page without a block on disk ends the process by SIGBUS.
    np.save(path, np.zeros(plan.rows, RECORD))
    marker.write_text(plan.fingerprint)
    return np.lib.format.open_memmap(path, "r+")


def _open_images(path: Path, plan: Plan) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    size = plan.rows * int(np.prod(plan.image_shape))
    if size and os.fstat(descriptor).st_size != size:
        os.posix_fallocate(descriptor, 0, size)  # fails now where the disk would fill up later
    return descriptor


def _own_files(plan: Plan) -> list[str]:
    own = [] if plan.in_place else [IMAGES]
    return [*own, TARGETS] if plan.has_targets else own


def _trust_verified(records: Any, plan: Plan, files: dict[str, int]) -> None:
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


def _copy_known(folder: Path, writer: _Writer) -> None:
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


def _copy_interrupted(other: Path, writer: _Writer) -> None:
    """Copies the rows that an interrupted build of the folder, as it was before, has decoded."""
    plan = writer.plan
    if plan.identities is None or plan.in_place or not other.is_dir():
        return
    with contextlib.ExitStack() as opened:
        try:
            records = np.load(other / ROWS, mmap_mode="c")
            shape = (len(records), *plan.image_shape)
            names = _own_files(plan)
            pixels = {name: np.memmap(other / name, np.uint8, "r", 0, shape) for name in names}
            files = {name: os.open(other / name, os.O_RDONLY | os.O_CLOEXEC) for name in names}
        except UNREADABLE:
            return
        for descriptor in files.values():
            opened.callback(os.close, descriptor)
        if records.dtype != RECORD:
            return
        _trust_verified(records, plan, files)

        def chunk(rows: np.ndarray) -> Chunk:
            images, *targets = (pixels[name][rows] for name in names)
            return Chunk(images, *targets, labels=records["label"][rows])

        _copy(records, np.flatnonzero(records["state"] == GOOD), chunk, writer)


def _copy(
    old_records: Any, usable: np.ndarray, chunk: Callable[[np.ndarray], Chunk], writer: _Writer
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


def _replace(scratch: Path, folder: Path) -> None:
    """Puts the entry in place; processes that read the old one keep it until they end."""
    for name in ("fingerprint", "remarks.jsonl"):
        (scratch / name).unlink(missing_ok=True)
    old = folder.with_name(folder.name + _OLD)
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    scratch.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _require_room(root: Path, plan: Plan) -> None:
    row = int(np.prod(plan.image_shape)) * len(_own_files(plan)) + RECORD.itemsize
    needed, free = plan.rows * row, shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"{plan.source} needs {size_text(needed)} in the store {root}, and its disk has "
            f"{size_text(free)} left; free some, or give another folder by --store-dir"
        )


def is_locked(scratch: Path) -> bool:
    """Whether a process is writing this unfinished entry."""
    try:
        with open(scratch.with_suffix(".lock")) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Holds the entry's lock; waits for another process that holds it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = open(root / f"{name}.lock", "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(
            f"the store {root} cannot be written ({error.strerror}); give another folder by "
            "--store-dir"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that decodes the same images")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _gone_if_refused(scratch: Path) -> Iterator[None]:
    """Deletes what was written of images that turn out not to be usable."""
    try:
        yield
    except InputError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextlib.contextmanager
def _faults_in(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the store {root} could not be written ({error.strerror or error}); what was decoded "
            "is kept, and the same command goes on; or give another folder by --store-dir"
        ) from error
