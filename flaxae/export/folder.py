"""A folder of files that is complete under its name or not there, and replaced as one."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from flaxae.errors import InputError, RunError


@contextlib.contextmanager
def replace_folder(target: Path, names: Collection[str]) -> Iterator[Path]:
    """A scratch folder that becomes `target` when the block ends, in place of what it replaces.

    `names` are the files that make up such a folder. When the block fails, or SIGINT or SIGTERM
    ends it, `target` is as before and nothing else is left. A kill that cannot be caught may leave
    the hidden scratch folder; in the instant between the two renames, it leaves no `target` but the
    complete old one under a hidden name. The next call clears up either.

    Raises:
        InputError: `target` holds something that is no earlier export, or cannot be written.
        RunError: another process writes it.
    """
    refuse_foreign(target, names)
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        with _exit_on_sigterm(), _locked(_hidden(target, "partial")) as scratch:
            _recover(target)
            yield scratch
            for path in scratch.iterdir():
                _sync(path)
            _sync(scratch)
            _swap(scratch, target)
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):  # another process may use it by now
                parent.rmdir()
        raise


def refuse_foreign(target: Path, names: Collection[str]) -> None:
    """Raises InputError unless `target` is absent, empty, or made of exactly the files `names`."""
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a folder as --output-dir")
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    foreign, absent = sorted(found - set(names)), sorted(set(names) - found)
    if found and (foreign or absent):
        difference = f"holds {foreign[0]}" if foreign else f"lacks {absent[0]}"
        raise InputError(
            f"{target} is no earlier export and not empty: it {difference}; nothing was changed; "
            "give another --output-dir, or empty this one"
        )


@contextlib.contextmanager
def _locked(scratch: Path) -> Iterator[Path]:
    """An empty folder that belongs to this process until it is renamed; removed on failure."""
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(exist_ok=True)
        handle = os.open(scratch, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"{scratch.parent} cannot be written ({error.strerror}); give another --output-dir"
        ) from error
    try:
        _lock(handle, scratch)
        _empty(scratch)
        try:
            yield scratch
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    finally:
        os.close(handle)


def _lock(handle: int, scratch: Path) -> None:
    busy = RunError(f"another process writes {scratch}; wait for it, or give another --output-dir")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other process may have renamed it between our opening and our locking.
        renamed = os.stat(scratch).st_ino != os.fstat(handle).st_ino
    except (BlockingIOError, FileNotFoundError):
        raise busy from None
    if renamed:
        raise busy


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _recover(target: Path) -> None:
    """Undoes what a kill between the renames of `_swap`, or just after them, has left."""
    old = _hidden(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _swap(scratch: Path, target: Path) -> None:
    old = _hidden(target, "old")
    try:
        if target.exists():
            target.rename(old)
        scratch.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _hidden(target: Path, purpose: str) -> Path:
    return target.with_name(f".{target.name}.flaxae-{purpose}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """SIGTERM as an exception, so that it clears up as SIGINT does."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # where Python allows no handlers
        return
    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
