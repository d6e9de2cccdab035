"""The resident memory of this process, by kind, and the peak during a piece of work."""

import contextlib
import ctypes
import gc
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")

MIB = 2**20
_PROCESS = Path("/proc/self")


class Resident(NamedTuple):
    """Resident bytes."""

    private: int  # anonymous memory of this process
    mapped: int  # pages of files, which the system can drop when memory is short


def peak_bytes() -> int:
    """The process' peak of resident memory since its start.

    Read from /proc where it exists, because ru_maxrss starts at the size of the parent process.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        found = None
    if found:
        return 1024 * int(found[1])
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


def resident() -> Resident | None:
    """The resident memory; None where the system does not report its kinds."""
    try:
        status = (_PROCESS / "status").read_text()
    except OSError:
        return None
    kinds = {name: 1024 * int(size) for name, size in re.findall(r"Rss(\w+):\s+(\d+) kB", status)}
    # A file on a RAM disk counts as Shmem.
    return Resident(kinds["Anon"], kinds["File"] + kinds["Shmem"]) if kinds else None


def mapped_of(file: Path) -> int | None:
    """Resident bytes of a mapped file; None where the system does not report them."""
    try:
        text = (_PROCESS / "smaps").read_text()
    except OSError:
        return None
    # man 5 proc_pid_smaps: the first line of a mapping ends with its file.
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE)
    own = "".join(each for each in mappings if each.partition("\n")[0].endswith(f" {file}"))
    return 1024 * sum(map(int, re.findall(r"^Rss:\s+(\d+) kB", own, re.MULTILINE)))


def private_growth(work: Callable[[], Result]) -> tuple[Result, int | None]:
    """The result of `work`, and the peak of private memory during it above that before it.

    Resets the system's record of the process' peak. The growth is right if `work` maps no more of a
    file, and None where the system does not report it.
    """
    _return_freed_memory()
    before = resident()
    reset = _reset_peak()
    result = work()
    after = resident()
    if not reset or before is None or after is None:
        return result, None
    return result, peak_bytes() - after.mapped - before.private


def _return_freed_memory() -> None:
    """Returns freed memory to the system; else `work` could use it without growth."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    try:
        (_PROCESS / "clear_refs").write_text("5")  # man 5 proc_pid_clear_refs
    except OSError:
        return False
    return True
