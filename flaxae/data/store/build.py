"""Writes an entry of the store: decodes what it lacks, and goes on after a kill."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxae.data.pixel_hash import pixel_hashes
from flaxae.data.store.images import ImageFile, checksums
from flaxae.data.store.plan import Chunk, Entry, Plan
from flaxae.errors import InputError, RunError

VERSION = 1
DESCRIPTION = "description.json"
IMAGES, TARGETS, ROWS = "images.u8", "targets.u8", "rows.npy"
PARTIAL = ".partial"  # suffix of an entry that is being written
_OLD = ".old"
_RECORD = np.dtype(
    [
        ("hash", "<u8"),
        ("target_hash", "<u8"),
        ("identity", "<u8"),
        ("label", "<i4"),
        ("state", "u1"),
    ]
)
_TODO, _GOOD, _BAD = 0, 1, 2
_COPY_ROWS = 4096
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, IndexError)

Progress = Callable[[int, int], None]  # rows done, rows in all


def find(root: Path, name: str, fingerprint: str) -> Entry | None:
    """The entry, or None where it is absent, of other images, or damaged."""
    folder = root / name
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        if (description["version"], description["fingerprint"]) != (VERSION, fingerprint):
            return None
        return _read(folder, description)
    except _UNREADABLE:
        return None


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
        with _faults_in(root):
            records = _open_records(scratch, plan, root)
            files = {name: _open_images(scratch / name, plan) for name in _own_files(plan)}
            writer = _Writer(scratch, files, records, plan, progress)
            _trust_verified(records, plan, files)
            _copy_known(folder, writer)
            for chunk in plan.decode(np.flatnonzero(records["state"] == _TODO)):
                writer.add(chunk)
            _describe(scratch, plan, records)
            records.flush()
            _replace(scratch, folder)
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

    def add(self, chunk: Chunk, rows: np.ndarray | None = None) -> None:
        """Writes a chunk to `rows`, or to the next that are to be done."""
        count = len(chunk.images)
        if rows is None:
            rows = np.flatnonzero(self.records["state"] == _TODO)[:count]
        new = np.zeros(count, _RECORD)
        new["state"] = _GOOD
        new["state"][list(chunk.bad)] = _BAD
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
        self.records[rows] = new
        self._progress(int((self.records["state"] != _TODO).sum()), self.plan.rows)


def _open_records(scratch: Path, plan: Plan, root: Path) -> Any:
    """The records of a build, those of an interrupted one if it is of the same images."""
    marker = scratch / "fingerprint"
    path = scratch / ROWS
    with contextlib.suppress(OSError, ValueError):
        if marker.read_text() == plan.fingerprint:
            records = np.lib.format.open_memmap(path, "r+")
            if records.shape == (plan.rows,) and records.dtype == _RECORD:
                return records
    shutil.rmtree(scratch, ignore_errors=True)
    _require_room(root, plan)
    scratch.mkdir(parents=True)
    # Written, not only sized: a mapped page without a block on disk ends the process by SIGBUS.
    np.save(path, np.zeros(plan.rows, _RECORD))
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
    """Resets the records of an interrupted build whose pixels are not in the file."""
    if IMAGES not in files:
        return
    done = np.flatnonzero(records["state"] == _GOOD)
    shape, size = plan.image_shape, int(np.prod(plan.image_shape))
    for row in done.tolist():
        for name, field in ((IMAGES, "hash"), (TARGETS, "target_hash")):
            if name in files:
                pixels = np.frombuffer(os.pread(files[name], size, row * size), np.uint8)
                if pixel_hashes(pixels.reshape(1, *shape))[0] != records[field][row]:
                    records["state"][row] = _TODO


def _copy_known(folder: Path, writer: _Writer) -> None:
    """Copies the rows that an older entry of the same folder has."""
    plan, records = writer.plan, writer.records
    if plan.identities is None or plan.in_place:
        return
    try:
        description = json.loads((folder / DESCRIPTION).read_text())
        old_records = np.load(folder / ROWS, mmap_mode="r")
        old = _read(folder, description)
    except _UNREADABLE:
        return
    if old.images.shape[1:] != plan.image_shape or (old.targets is not None) != plan.has_targets:
        return
    usable = np.flatnonzero(old.good)
    at = {
        int(identity): int(row)
        for identity, row in zip(old_records["identity"][usable], usable, strict=True)
    }
    todo = np.flatnonzero(records["state"] == _TODO)
    pairs = [
        (row, at[int(plan.identities[row])]) for row in todo if int(plan.identities[row]) in at
    ]
    for first in range(0, len(pairs), _COPY_ROWS):
        new_rows, old_rows = np.array(pairs[first : first + _COPY_ROWS]).T
        targets = None if old.targets is None else old.targets.read(old_rows)
        writer.add(Chunk(old.images.read(old_rows), targets, old.labels[old_rows]), new_rows)


def _describe(scratch: Path, plan: Plan, records: Any) -> None:
    """Writes the checksums and what is known of the entry."""
    todo = int((records["state"] == _TODO).sum())
    assert not todo, f"the decoder of {plan.source} left out {todo} images"
    shape = (plan.rows, *plan.image_shape)
    where = {IMAGES: plan.in_place or (scratch / IMAGES, 0), TARGETS: (scratch / TARGETS, 0)}
    for name in [IMAGES, TARGETS] if plan.has_targets else [IMAGES]:
        path, offset = where[name]
        np.save(
            scratch / f"{name}.crc.npy", checksums(np.memmap(path, np.uint8, "r", offset, shape))
        )
    notes: Counter[str] = Counter()
    bad: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (scratch / "remarks.jsonl").read_text().splitlines():
            remark = json.loads(line)
            notes.update(remark["notes"])
            bad |= remark["bad"]
    description = {
        "version": VERSION,
        "fingerprint": plan.fingerprint,
        "source": plan.source,
        "shape": shape,
        "targets": plan.has_targets,
        "in_place": [str(plan.in_place[0]), plan.in_place[1]] if plan.in_place else None,
        "rows_sha256": hashlib.sha256(np.ascontiguousarray(records).tobytes()).hexdigest(),
        "bad": {row: why for row, why in bad.items() if records["state"][int(row)] == _BAD},
        "notes": notes,
        "facts": dict(plan.facts),
    }
    (scratch / DESCRIPTION).write_text(json.dumps(description))


def _read(folder: Path, description: dict[str, Any]) -> Entry:
    shape = tuple(description["shape"])
    records = np.load(folder / ROWS)
    if hashlib.sha256(records.tobytes()).hexdigest() != description["rows_sha256"]:
        raise ValueError(f"{folder / ROWS} is damaged")
    given = description["in_place"]
    path, offset = (Path(given[0]), given[1]) if given else (folder / IMAGES, 0)
    images = ImageFile(path, shape, offset, np.load(folder / f"{IMAGES}.crc.npy"))
    targets = None
    if description["targets"]:
        sums = np.load(folder / f"{TARGETS}.crc.npy")
        targets = ImageFile(folder / TARGETS, shape, 0, sums)
    bad = {int(row): why for row, why in description["bad"].items()}
    return Entry(
        folder,
        images,
        targets,
        np.ascontiguousarray(records["label"]),
        np.ascontiguousarray(records["hash"]),
        records["state"] == _GOOD,
        bad,
        description["notes"],
        description["facts"],
        fresh=False,
    )


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
    row = int(np.prod(plan.image_shape)) * len(_own_files(plan)) + _RECORD.itemsize
    needed, free = plan.rows * row, shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"{plan.source} needs {megabytes(needed)} in the store {root}, and its disk has "
            f"{megabytes(free)} left; free some, or give another folder by --store-dir"
        )


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


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
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _faults_in(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the store {root} could not be written ({error.strerror or error}); what was decoded "
            "is kept, and the same command goes on; or give another folder by --store-dir"
        ) from error
