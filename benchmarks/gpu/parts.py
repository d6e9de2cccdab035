"""Runs the parts one after another, each in a process with a limit, whatever becomes of the others.

This process does not use the device, so that each part has all of its memory.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common.report import Finding
from benchmarks.common.tables import show
from benchmarks.gpu import Settings

_ROOT = Path(__file__).parents[2]
_BATCHES = ("64", "256", "1024", "4096")
_LINES = 6  # of what a failed part printed
# JAX would take three quarters of the device's memory in each process of a comparison.
_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class Part(NamedTuple):
    """A command, and the most seconds that it may take."""

    arguments: tuple[str, ...]  # of Python
    seconds: float


class Outcome(NamedTuple):
    """What became of a part."""

    part: str
    seconds: float
    failure: str | None  # the reason; None if it ended well
    files: tuple[str, ...]  # in the output folder
    command: str


def commands(output_dir: Path, smoke: bool) -> dict[str, Part]:
    """The command of each part by its name."""

    # A smoke run may be on a CPU, which compiles slowly.
    factor = 2 if smoke else 1

    def own(name: str, seconds: float) -> Part:
        options = ("--smoke",) if smoke else ()
        part = ("-m", "benchmarks.gpu.part", name, str(output_dir), *options)
        return Part(part, factor * seconds)

    def other(name: str, folder: str, seconds: float, *options: str) -> Part:
        # In a folder of its own, because a benchmark that runs twice gives its files one name.
        flags = ("--smoke",) if smoke else options
        place = ("--output-dir", str(output_dir / folder))
        return Part(("-m", f"benchmarks.{name}", *flags, *place), factor * seconds)

    layouts = ("--downsample", "max_pool", "--passes", "train", "--batch-sizes", *_BATCHES)
    layouts += ("--repeats", "15")
    models = ("--models", "convolutional", "--batch-sizes", *_BATCHES, "--repeats", "10")
    return {
        "environment": own("environment", 40),
        "steps": own("steps", 110),
        "steps_bfloat16": own("steps_bfloat16", 60),
        "epochs": own("epochs", 60),
        "flags": own("flags", 60),
        "layouts_gpu": other("layouts", "layouts_gpu", 90, *layouts, "--kernels", "gpu"),
        "layouts_plain": other("layouts", "layouts_plain", 90, *layouts, "--kernels", "plain"),
        "peers": other("train_step", "peers", 120, *models, "--peers", "torch"),
        "start": own("start", 60),
        "training": own("training", 60),
    }


def run_parts(settings: Settings) -> Finding:
    """Runs the parts that the settings name, and prints what became of them."""
    start = time.monotonic()
    every = commands(settings.output_dir.resolve(), settings.smoke)
    outcomes: list[Outcome] = []
    for name in settings.parts:
        left = settings.seconds - (time.monotonic() - start)
        outcomes.append(run_part(name, every[name], left, settings.output_dir))
        last = outcomes[-1]
        print(f"{name}: {last.failure or 'done'} ({last.seconds:.0f} s)", flush=True)
        text = json.dumps([outcome._asdict() for outcome in outcomes], indent=1)
        (settings.output_dir / "gpu-parts.json").write_text(text + "\n")
    columns = {
        "part": lambda o: o.part,
        "seconds": lambda o: f"{o.seconds:.0f}",
        "outcome": lambda o: o.failure or "done",
        "files": lambda o: ", ".join(o.files),
    }
    show("Parts", columns, outcomes)
    done = sum(outcome.failure is None for outcome in outcomes)
    answer = f"{done} of {len(outcomes)} parts were measured"
    described = _described(settings.output_dir, outcomes)
    brief = {"parts": {o.part: o.failure or "done" for o in outcomes}}
    failure = "" if done else "no part was measured"
    return Finding(described, answer, {"parts": outcomes}, brief, failure=failure)


def run_part(name: str, part: Part, left: float, output_dir: Path) -> Outcome:
    """Runs one part; a failure is an outcome, not an exception."""
    command = f"python {' '.join(part.arguments)}"
    if left < 5:
        return Outcome(name, 0, "left out: no time was left", (), command)
    before = _changes(output_dir)
    start, failure = time.monotonic(), None
    try:
        subprocess.run(
            (sys.executable, *part.arguments),
            cwd=_ROOT,
            env={**os.environ, **_ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=max(0.1, min(part.seconds, left)),
            check=True,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        failure = f"took more than {error.timeout:.0f} seconds"
    except (OSError, subprocess.CalledProcessError) as error:
        lines = (getattr(error, "output", "") or str(error)).strip().splitlines()
        failure = " | ".join(lines[-_LINES:])
    files = sorted(name for name, at in _changes(output_dir).items() if before.get(name) != at)
    return Outcome(name, time.monotonic() - start, failure, tuple(files), command)


def _changes(folder: Path) -> dict[str, int]:
    """When each file in a folder and its folders was changed last."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def _described(output_dir: Path, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The device as the part "environment" found it now, because this process has not used it."""
    name = "gpu-environment.json"
    if any(name in outcome.files for outcome in outcomes):
        return json.loads((output_dir / name).read_text())["result"]["device"]
    return {"kind": "unknown device", "runtime": "unknown"}
