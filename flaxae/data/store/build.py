"""Writes an entry of the store: decodes what it lacks, and goes on after a kill."""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxae.data.sizes import size_text
from flaxae.data.store.files import MARKER, RECORD, ROWS, describe, find
from flaxae.data.store.plan import Entry, Plan
from flaxae.data.store.rows import (
    Progress,
    Writer,
    copy_interrupted,
    copy_known,
    own_files,
    trust_verified,
)
from flaxae.errors import InputError, RunError

logger = logging.getLogger("flaxae.data")
PARTIAL = ".partial"  # suffix of an entry that is being written
OLD = ".old"  # an entry that is being replaced
OTHER = ".other"  # what an interrupted call has decoded of other images, as of the changed folder


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
            files = {name: _open_images(scratch / name, plan) for name in own_files(plan)}
            for descriptor in files.values():
                opened.callback(os.close, descriptor)
            writer = Writer(scratch, files, records, plan, progress)
            trust_verified(records, plan, files)
            copy_known(folder, writer)
            copy_interrupted(other, writer)
            writer.decode()
            records.flush()
            describe(scratch, plan, records, writer.checksums.values())
            _replace(scratch, folder)
            shutil.rmtree(other, ignore_errors=True)
    entry = find(root, plan.name, plan.fingerprint)
    if entry is None:
        raise RunError(f"{folder} was written just now and cannot be read; is its disk sound?")
    return entry._replace(fresh=True)


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


def _replace(scratch: Path, folder: Path) -> None:
    """Puts the entry in place; processes that read the old one keep it until they end."""
    for name in ("fingerprint", "remarks.jsonl"):
        (scratch / name).unlink(missing_ok=True)
    old = folder.with_name(folder.name + OLD)
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    scratch.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _require_room(root: Path, plan: Plan) -> None:
    row = int(np.prod(plan.image_shape)) * len(own_files(plan)) + RECORD.itemsize
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
