"""Replaces a folder of files atomically."""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flaxae.data.file_names import printable
from flaxae.errors import InputError, RunError
from flaxae.export.outputs import is_marked


class Extras(NamedTuple):
    """What a folder may hold beside its files."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # of pictures with flaxae's mark, and of nothing else


NO_EXTRAS = Extras()
_INSIDE = ".flaxae-partial"  # the scratch folder of a mount point
_OF_MOUNTS = (_INSIDE, "lost+found")  # which a mount point may hold beside its files


def resolved(folder: Path) -> Path:
    """The folder itself: a link stays a link, and the folder that it points to is replaced."""
    try:
        return folder.expanduser().resolve()
    except (OSError, RuntimeError) as error:  # links in a circle, no such user
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--output-dir got {printable(folder)}: {reason}; give another folder"
        ) from error


@contextlib.contextmanager
def replace_folder(
    target: Path,
    names: Collection[str],
    marked: str | None = None,
    overwrite: bool = False,
    extras: Extras = NO_EXTRAS,
) -> Iterator[Path]:
    """Yields a scratch folder that replaces `target` when the block ends without an exception.

    `names` are the files that the block writes, and `extras` what it may write beside them;
    `marked` and `overwrite` are for `refuse_foreign`.
    If the block fails, or SIGINT or SIGTERM ends it, `target` is unchanged and the scratch folder
    is removed. SIGKILL may leave the hidden scratch folder behind. Between the two renames it may
    also leave the complete old folder under a hidden name and no `target`. The next call restores
    the old folder and removes such leftovers. A mount point cannot be renamed, so its files are
    replaced one by one, and a kill between them leaves old and new ones.

    Raises:
        InputError: `target` holds other files than an earlier export, or cannot be written.
        RunError: another process is writing `target`.
    """
    refuse_foreign(target, names, marked, overwrite, extras)
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        with _exit_on_sigterm(), _locked(_scratch(target)) as scratch:
            _recover(target)
            yield scratch
            for path in [*scratch.rglob("*"), scratch]:
                _sync(path)
            (_move_into if scratch.parent == target else _swap)(scratch, target)
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):  # another process may have put files there
                parent.rmdir()
        raise


def refuse_foreign(
    target: Path,
    names: Collection[str],
    marked: str | None = None,
    overwrite: bool = False,
    extras: Extras = NO_EXTRAS,
) -> None:
    """Raises InputError unless `target` is absent, empty, or an earlier export.

    That holds exactly the files `names`, of which the picture `marked` has flaxae's mark (None: the
    names are enough), and maybe some of `extras`. With `overwrite`, it may lack files, and the
    mark. Other files are never lost.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a folder as --output-dir")
    found = _names(target)
    foreign = sorted(filter(None, (_foreign(target / name, names, extras) for name in found)))
    absent = sorted(set(names) - found)
    if not found or (overwrite and not foreign):
        return
    advice = "empty this one"
    if foreign:
        difference = f"holds {printable(foreign[0])}"
    elif absent:
        difference, advice = f"lacks {absent[0]}", "--overwrite"
    elif marked is not None and not is_marked(target / marked):
        difference, advice = f"has a {marked} that flaxae did not write", "--overwrite"
    else:
        return
    raise InputError(
        f"{printable(target)} is no earlier export: it {difference}; nothing was changed; "
        f"give another --output-dir, or {advice}"
    )


def _names(target: Path) -> set[str]:
    """What a folder holds, but for what belongs to a mount point."""
    found = {path.name for path in target.iterdir()} if target.is_dir() else set()
    return found - set(_OF_MOUNTS) if os.path.ismount(target) else found


def _foreign(path: Path, names: Collection[str], extras: Extras) -> str | None:
    """The name of something that no export has written, at this path or in its folder."""
    if path.name in extras.folders and path.is_dir() and not path.is_symlink():
        strange = next((inner for inner in path.iterdir() if not is_marked(inner)), None)
        return None if strange is None else f"{path.name}/{strange.name}"
    known = path.name in names or path.name in extras.files
    return None if known and path.is_file() else path.name


@contextlib.contextmanager
def _locked(scratch: Path) -> Iterator[Path]:
    """Creates, locks and yields an empty folder; removes it if the block fails."""
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
    busy = RunError(
        f"another process is writing {scratch}; wait for it, or give another --output-dir"
    )
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have renamed the folder after this one opened it.
        renamed = os.stat(scratch).st_ino != os.fstat(handle).st_ino
    except (BlockingIOError, FileNotFoundError):
        raise busy from None
    if renamed:
        raise busy


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _recover(target: Path) -> None:
    """Restores or removes the old folder that a process killed during `_swap` left behind."""
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


def _move_into(scratch: Path, target: Path) -> None:
    """Replaces the files of a mount point; what the new ones do not replace goes last."""
    new, old = {path.name for path in scratch.iterdir()}, _names(target)
    for name in sorted(new):
        _remove_folder(target / name)
        (scratch / name).replace(target / name)
    for name in old - new:
        _remove_folder(target / name)
        (target / name).unlink(missing_ok=True)
    scratch.rmdir()
    _sync(target)


def _remove_folder(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _scratch(target: Path) -> Path:
    return target / _INSIDE if os.path.ismount(target) else _hidden(target, "partial")


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
    """Raises SystemExit on SIGTERM, so that SIGTERM removes the scratch folder as SIGINT does."""

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
