"""The resident memory of this process, by kind, and the peak during a piece of work."""

import contextlib
import ctypes
import gc
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

MIB = 2**20


def peak_bytes() -> int:
    """The process' peak of resident memory since its start."""
    status = Path("/proc/self/status")  # preferred: ru_maxrss starts at the size of the parent
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return 1024 * int(found[1])
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


def resident() -> tuple[int, int] | None:
    """Private resident bytes, and those of files, which the system can drop; None if unknown."""
    found = psutil.Process().memory_info()
    shared = getattr(found, "shared", None)
    return None if shared is None else (found.rss - shared, shared)


def mapped_of(file: Path) -> int | None:
    """Resident bytes of a mapped file; None where the system does not report them."""
    maps = getattr(psutil.Process(), "memory_maps", None)
    return sum(each.rss for each in maps(grouped=True) if each.path == str(file)) if maps else None


def private_growth(work: Callable[[], Any]) -> tuple[Any, int | None]:
    """The result of `work`, and the peak of private memory during it above that before it.

    Resets the system's record of the process' peak. The growth is right if `work` maps no more of a
    file, and None where the system does not report it.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)  # returns freed memory, whose reuse would not be growth
    before = None
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc_pid_clear_refs: resets the peak
        before = resident()
    result, after = work(), resident()
    return result, peak_bytes() - after[1] - before[0] if before and after else None
