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


def _read(name: str) -> str:
    try:
        return (_PROCESS / name).read_text()
    except OSError:
        return ""


def peak_bytes() -> int:
    """The process' peak of resident memory since its start.

    Read from /proc where it exists, because ru_maxrss starts at the size of the parent process.
    """
    if found := re.search(r"VmHWM:\s+(\d+) kB", _read("status")):
        return 1024 * int(found[1])
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


def resident() -> Resident | None:
    """The resident memory; None where the system does not report its kinds."""
    found = re.findall(r"Rss(\w+):\s+(\d+) kB", _read("status"))
    kinds = {name: 1024 * int(size) for name, size in found}
    # A file on a RAM disk counts as Shmem.
    return Resident(kinds["Anon"], kinds["File"] + kinds["Shmem"]) if kinds else None


def mapped_of(file: Path) -> int | None:
    """Resident bytes of a mapped file; None where the system does not report them."""
    # man 5 proc_pid_smaps: a mapping's first line begins with addresses and ends with its file.
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", _read("smaps"), flags=re.MULTILINE)
    own = "".join(each for each in mappings if each.partition("\n")[0].endswith(f" {file}"))
    sizes = re.findall(r"^Rss:\s+(\d+) kB", own, re.MULTILINE)
    return 1024 * sum(map(int, sizes)) if len(mappings) > 1 else None


def private_growth(work: Callable[[], Result]) -> tuple[Result, int | None]:
    """The result of `work`, and the peak of private memory during it above that before it.

    Resets the system's record of the process' peak. The growth is right if `work` maps no more of a
    file, and None where the system does not report it.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)  # returns freed memory, whose reuse would not be growth
    before, reset = resident(), False
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")  # man 5 proc_pid_clear_refs: resets the peak
        reset = True
    result, after = work(), resident()
    if not reset or before is None or after is None:
        return result, None
    return result, peak_bytes() - after.mapped - before.private
