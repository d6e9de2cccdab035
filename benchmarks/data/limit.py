"""A memory control group (cgroup, version 1 or 2), which limits a process and its page cache."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from flaxae.errors import RunError

_ROOT = Path("/sys/fs/cgroup")
_USAGE = ("memory.max_usage_in_bytes", "memory.failcnt", "memory.peak", "memory.events")


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """The folder of a new group of at most `limit` bytes without swap; deleted on leaving.

    Raises:
        RunError: the system does not let this process make one.
    """
    old = (_ROOT / "memory").is_dir()  # version 1
    folder = (_ROOT / "memory" if old else _ROOT) / f"flaxae-data-{os.getpid()}"
    names = ("limit_in_bytes", "memsw.limit_in_bytes") if old else ("max", "swap.max")
    try:
        if not old and "memory" not in (_ROOT / "cgroup.subtree_control").read_text().split():
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
        folder.mkdir()
        (folder / f"memory.{names[0]}").write_text(str(limit))
    except OSError as error:
        _delete(folder)
        raise RunError(
            f"no limit of memory: {error}; run as root where /sys/fs/cgroup can be written"
        ) from error
    with contextlib.suppress(OSError):  # where swap is not accounted for
        (folder / f"memory.{names[1]}").write_text(str(limit) if old else "0")
    try:
        yield folder
    finally:
        _delete(folder)


def usage(folder: Path) -> dict[str, int]:
    """The group's peak, and how often it reached its limit, by the names of the system."""
    files = [(name, folder / name) for name in _USAGE if (folder / name).exists()]
    pairs = [(name, line.split()) for name, file in files for line in file.read_text().splitlines()]
    return {" ".join([name, *words[:-1]]): int(words[-1]) for name, words in pairs}


def _delete(folder: Path) -> None:
    for _ in range(20):
        with contextlib.suppress(OSError):
            folder.rmdir()
        if not folder.exists():
            return
        time.sleep(0.05)  # it is busy for a moment after its last process
