"""Trains the default run with several numbers of devices and seeds, and compares their losses."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import device, tables
from benchmarks.common.report import Finding
from benchmarks.devices import WholeRuns
from flaxae.errors import RunError

_ROOT = Path(__file__).resolve().parents[2]


def measure(settings: WholeRuns) -> Finding:
    """Trains, and prints the validation losses."""
    described = device.describe_device()
    print(device.line(described), flush=True)
    # Number of devices -> for each seed, the validation loss of each epoch.
    losses: dict[int, list[list[float]]] = {count: [] for count in settings.devices}
    for seed in range(settings.seeds):
        for count in settings.devices:
            losses[count].append(_losses(settings, count, seed))
    first, *others = settings.devices
    ends = [runs[-1] for runs in losses[first]]
    spread = max(ends) - min(ends)
    tables.show(
        "Validation loss at the end",
        {
            "devices": str,
            **{f"seed {s}": lambda n, s=s: f"{losses[n][s][-1]:.6f}" for s in range(len(ends))},
        },
        settings.devices,
    )
    early = max(_difference(losses, first, other, 0) for other in others)
    late = max(_difference(losses, first, other, -1) for other in others)
    answer = (
        f"validation losses with {', '.join(map(str, others))} devices differ from those with "
        f"{first} by at most {early:.2g} after the first epoch and {late:.2g} after "
        f"{settings.epochs}, where {settings.seeds} seeds differ by {spread:.2g}"
    )
    content = {"validation_losses": losses, "first": early, "last": late, "seeds_differ": spread}
    return Finding(described, answer, content, content)


def _difference(losses: dict[int, list[list[float]]], one: int, other: int, epoch: int) -> float:
    pairs = zip(losses[one], losses[other], strict=True)
    return max(abs(a[epoch] - b[epoch]) for a, b in pairs)


def _losses(settings: WholeRuns, devices: int, seed: int) -> list[float]:
    """The validation loss of each epoch of a run by itself."""
    with tempfile.TemporaryDirectory() as name:
        flags = {
            "devices": devices,
            "seed": seed,
            "epochs": settings.epochs,
            "train-limit": settings.train_limit,
            "workdir": Path(name) / "run",
        }
        words = [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
        command = [sys.executable, "run.py", "train", *words, "--no-report"]
        environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
        found = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
        if found.returncode:
            raise RunError(f"{devices} devices, seed {seed}: {found.stderr[-500:]}")
        lines = (Path(name) / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["validation_loss"] for line in lines]
