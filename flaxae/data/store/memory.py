"""How much memory this process may use."""

import contextlib
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_memory() -> int:
    """Bytes of memory that are free, or at once can be, within the limit of the control group."""
    return min([_machine("MemAvailable"), *_group_limits()])


def total_memory() -> int:
    """Bytes of memory of this machine, or the limit of the control group if that is less."""
    return min([_machine("MemTotal"), *_group_limits()])


def _machine(name: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024
    return 2**62  # where nothing is known


def _group_limits() -> list[int]:
    limits = []
    for path in _own_groups():
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            limits.append(int(path.read_text()))
    return limits


def _own_groups() -> list[Path]:
    """Where the limits of this process's control groups stand, of either version of cgroups."""
    paths = [Path(path) for path in _LIMITS]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, group = line.split(":", 2)
            if not kinds:
                paths.append(Path(f"/sys/fs/cgroup{group}/memory.max"))
            elif "memory" in kinds.split(","):
                paths.append(Path(f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"))
    return paths
