"""The memory that this process has resident, by kind, and the most that a piece of work takes."""

import contextlib
import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.train_step.worker import peak_bytes

Result = TypeVar("Result")

_PROCESS = Path("/proc/self")


class Resident(NamedTuple):
    """Bytes in memory now."""

    private: int  # this process' own
    mapped: int  # pages of files: the system's cache, which it takes back when others need memory


def resident() -> Resident | None:
    """What is resident now; None where the system does not tell the kinds apart."""
    try:
        status = (_PROCESS / "status").read_text()
    except OSError:
        return None
    kinds = {name: 1024 * int(size) for name, size in re.findall(r"Rss(\w+):\s+(\d+) kB", status)}
    # A file on a RAM disk counts as Shmem.
    return Resident(kinds["Anon"], kinds["File"] + kinds["Shmem"]) if kinds else None


def mapped_of(file: Path) -> int | None:
    """Bytes of a file that are mapped and resident; None where the system does not tell."""
    try:
        lines = (_PROCESS / "smaps").read_text().splitlines()
    except OSError:
        return None
    total, here = 0, False
    for line in lines:  # man 5 proc_pid_smaps: a mapping begins with its addresses
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            here = line.endswith(f" {file}")
        elif here and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


def private_growth(work: Callable[[], Result]) -> tuple[Result, int | None]:
    """What `work` returns, and the most private memory that it held above what was held before.

    Right while `work` maps no more of a file. None where the system does not count that way. It
    makes the system forget the process' peak of before.
    """
    _give_back()
    before = resident()
    counted = _forget_peak()
    result = work()
    after = resident()
    if not counted or before is None or after is None:
        return result, None
    return result, peak_bytes() - after.mapped - before.private


def _give_back() -> None:
    """Returns freed memory to the system, so that who takes it next is seen to take it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> bool:
    """Lets the system's count of the peak begin anew; whether it did."""
    try:
        (_PROCESS / "clear_refs").write_text("5")  # man 5 proc_pid_clear_refs
    except OSError:
        return False
    return True
