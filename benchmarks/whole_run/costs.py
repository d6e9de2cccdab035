"""Measures what a training run costs besides its steps, from outside its process."""

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import device, tables
from benchmarks.common.intervals import summarize
from benchmarks.common.memory import MIB
from benchmarks.common.report import Finding
from benchmarks.common.timing import interleave
from benchmarks.common.workers import in_process
from benchmarks.whole_run import Settings, watched

_ROOT = Path(__file__).resolve().parents[2]
# What each command imports, and two imports for comparison.
IMPORTS = {
    "nothing": "sys",
    "jax": "jax",
    "--help": "flaxae.commands.main",
    "train": "flaxae.api.train",
    "reconstruct": "flaxae.api.load",
    "evaluate": "flaxae.api.load, flaxae.evaluation.embedding_quality, flaxae.report.plots",
    "embed": "flaxae.api.load, flaxae.api.export",
}
_SECONDS = {
    "": lambda line: line[0],
    "median, s": lambda line: f"{summarize(line[1]).median:.2f}",
    "smallest to largest": lambda line: f"{min(line[1]):.2f} to {max(line[1]):.2f}",
}
_MEBIBYTES = {
    "epoch": lambda row: str(row["epoch"]),
    "private": lambda row: tables.reported(row["private_bytes"], lambda b: f"{b / MIB:,.0f}"),
    "peak so far": lambda row: f"{row['peak_bytes'] / MIB:,.0f}",
}


def measure_costs(settings: Settings) -> Finding:
    """Measures, and prints the tables."""
    described = device.describe_device()
    print(device.line(described), flush=True)
    imports, starts = import_seconds(settings.repeats), start_seconds(settings.repeats)
    with tempfile.TemporaryDirectory(prefix="flaxae-memory-") as folder:
        memory = in_process(watched.run, Path(folder), "run", settings.epochs)
    lines = [(f"import, {name}", samples) for name, samples in imports.items()]
    lines += [(f"first step, {name}", samples) for name, samples in starts.items()]
    tables.show("Seconds from the start of a process", _SECONDS, lines)
    chosen = [*memory[: -1 : max(1, len(memory) // 10)], memory[-1]]
    tables.show("Memory by epoch, MiB", _MEBIBYTES, chosen)
    content = {"import_seconds": imports, "first_step_seconds": starts}
    brief: dict[str, Any] = {
        key: {name: summarize(samples).median for name, samples in named.items()}
        for key, named in content.items()
    }
    first, peak = brief["first_step_seconds"], memory[-1]["peak_bytes"] / MIB
    late = [row["private_bytes"] for row in memory[len(memory) // 2 :]]
    private = None if None in late else [min(late) / MIB, max(late) / MIB]
    answer = (
        f"`flaxae train` finishes its first step after {first['cold']:.1f} s "
        f"({first['warm']:.1f} s with cached programs) and holds at most {peak:,.0f} MiB"
    )
    brief |= {"peak_mib": peak, "private_mib_of_second_half": private}
    return Finding(described, answer, {**content, "memory": memory}, brief)


def import_seconds(repeats: int) -> dict[str, list[float]]:
    """Seconds of a process that only imports what a command needs."""

    def start(modules: str, _: Any) -> None:
        subprocess.run([sys.executable, "-c", f"import {modules}"], cwd=_ROOT, check=True)

    variants = {name: partial(start, modules) for name, modules in IMPORTS.items()}
    # An uncounted turn before the others fills the system's cache of files.
    return interleave(variants, [None], repeats=repeats, warmup=int(repeats > 1))


def start_seconds(repeats: int) -> dict[str, list[float]]:
    """Seconds from a run's start to its first step; "warm" has the programs of "cold"."""
    samples: dict[str, list[float]] = {"cold": [], "warm": []}
    uncounted = int(repeats > 1)  # it prepares the dataset
    for _ in range(uncounted + repeats):
        with tempfile.TemporaryDirectory(prefix="flaxae-start-") as folder:
            for name, seconds in samples.items():
                start = time.time()
                (note,) = in_process(watched.run, Path(folder), name, 0)
                seconds.append(note["now"] - start)
    return {name: seconds[uncounted:] for name, seconds in samples.items()}
