"""What a training run costs besides its steps: imports, start-up, memory from epoch to epoch.

    python -m benchmarks.whole_run --smoke

benchmarks/README.md tells how to read what comes out.
"""

import datetime
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import device
from benchmarks.common.flags import Parser, count
from benchmarks.common.intervals import summarize
from flaxae.runs.workdir import write_atomically

_MIB = 2**20
_ROOT = Path(__file__).resolve().parents[2]
# What the command line imports for each sub-command, and for comparison what it cannot do without.
IMPORTS = {
    "nothing": "sys",
    "jax": "jax",
    "--help": "flaxae.commands.main",
    "train": "flaxae.commands.train",
    "evaluate, reconstruct": "flaxae.commands.trained",
    "embed": "flaxae.commands.embed",
}


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints, writes a JSON file; returns the exit status."""
    parser = Parser("benchmarks.whole_run", "What a training run costs besides its steps.")
    parser.add_argument(
        "--epochs", type=count, default=50, metavar="N", help="of the run whose memory is read"
    )
    parser.add_common(
        repeats=5, repeated="of imports and start-ups", smoke="2 epochs, 1 repeat, under a minute"
    )
    options = parser.parse_args(arguments)
    repeats, epochs = (1, 2) if options.smoke else (options.repeats, options.epochs)
    described = device.describe_device()
    imports, starts = import_seconds(repeats), start_seconds(repeats)
    memory = memory_by_epoch(epochs)
    show(imports, starts, memory)
    report = {
        "benchmark": "whole_run",
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": described,
        "software": device.describe_software(),
        "import_seconds": imports,
        "first_step_seconds": starts,
        "memory": memory,
    }
    options.output_dir.mkdir(parents=True, exist_ok=True)
    name = f"whole_run-{device.name_for_files(described['kind'])}"
    results = options.output_dir / f"{name}{'-smoke' if options.smoke else ''}.json"
    write_atomically(results, (json.dumps(report, indent=1) + "\n").encode())
    print(f"results {results}")
    print(json.dumps(summary(imports, starts, memory) | {"results": str(results)}))
    return 0


def import_seconds(repeats: int) -> dict[str, list[float]]:
    """Seconds of a process that only imports what a sub-command needs, interleaved."""
    samples: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for turn in range(-1, repeats):  # the first fills the system's cache of files
        for name, module in IMPORTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], cwd=_ROOT, check=True)
            if turn >= 0:
                samples[name].append(time.perf_counter() - start)
    return samples


def start_seconds(repeats: int) -> dict[str, list[float]]:
    """Seconds from starting `flaxae train` to its first finished step, without and with a cache.

    The dataset is prepared before.
    """
    samples: dict[str, list[float]] = {"cold": [], "warm": []}
    for turn in range(-1, repeats):
        with tempfile.TemporaryDirectory(prefix="flaxae-start-") as folder:
            for which in ("cold", "warm"):
                start = time.time()
                (reply,) = watched("step", Path(folder), which)
                if turn >= 0:
                    samples[which].append(reply["now"] - start)
    return samples


def memory_by_epoch(epochs: int) -> list[dict[str, Any]]:
    """What the default run holds before each of its epochs, and has held at most until then."""
    with tempfile.TemporaryDirectory(prefix="flaxae-memory-") as folder:
        return watched("epochs", Path(folder), "run", "--epochs", str(epochs))


def watched(until: str, folder: Path, workdir: str, *flags: str) -> list[dict[str, Any]]:
    """The replies of a run with its own folder and its own cache of compiled programs."""
    command = [sys.executable, "-m", "benchmarks.whole_run.watched", until, "train"]
    run = subprocess.run(
        [*command, "--workdir", str(folder / workdir), *flags],
        cwd=_ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    if run.returncode != 0:
        raise SystemExit(
            f"benchmarks.whole_run: error: the run failed: {run.stderr.strip()[-500:]}"
        )
    return [json.loads(line) for line in run.stdout.splitlines()]


def show(
    imports: dict[str, list[float]], starts: dict[str, list[float]], memory: list[dict[str, Any]]
) -> None:
    """Medians, and the smallest and largest, for a person."""
    print("seconds: median (smallest to largest)")
    for title, samples in (("import", imports), ("first step", starts)):
        for name, values in samples.items():
            spread = f"{summarize(values).median:.2f} ({min(values):.2f} to {max(values):.2f})"
            print(f"  {title}, {name}: {spread}")
    print("private memory before an epoch, and the peak so far, MiB")
    for row in memory[:: max(1, len(memory) // 10)] + memory[-1:]:
        private, peak = (_mib(row[key]) for key in ("private_bytes", "peak_bytes"))
        print(f"  epoch {row['epoch']}: {private:,.0f}, {peak:,.0f}")


def summary(
    imports: dict[str, list[float]], starts: dict[str, list[float]], memory: list[dict[str, Any]]
) -> dict[str, Any]:
    """The medians, and the memory of the run's second half, for machines."""
    late = [_mib(row["private_bytes"]) for row in memory[len(memory) // 2 :]]
    return {
        "benchmark": "whole_run",
        "import_seconds": {name: summarize(values).median for name, values in imports.items()},
        "first_step_seconds": {name: summarize(values).median for name, values in starts.items()},
        "peak_mib": memory[-1]["peak_bytes"] / _MIB,
        "private_mib_of_second_half": None if math.isnan(late[0]) else [min(late), max(late)],
    }


def _mib(size: int | None) -> float:
    """NaN where the system does not tell private memory from the rest."""
    return math.nan if size is None else size / _MIB


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
