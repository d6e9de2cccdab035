"""Measures one and two devices and processes on this machine, and estimates many GPUs on paper."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import device, tables
from benchmarks.common.intervals import summarize
from benchmarks.common.report import Finding
from benchmarks.devices import Settings
from benchmarks.devices.paper import CLUSTERS, PREDICTED_MICROSECONDS, estimate
from flaxae.errors import RunError

_ROOT = Path(__file__).resolve().parents[2]
_EQUAL = 1e-5  # relative difference of losses that only the number of devices may make


class Way(NamedTuple):
    """How the batch is divided."""

    processes: int
    devices: int  # of each process
    scaling: str  # "strong": the batch of one device divided; "weak": one for each device

    @property
    def name(self) -> str:
        """As a table has it."""
        return f"{self.processes} x {self.devices}, {self.scaling}"


WAYS = (
    Way(1, 1, "strong"),
    Way(1, 2, "strong"),
    Way(2, 1, "strong"),
    Way(1, 2, "weak"),
    Way(2, 1, "weak"),
)


def measure(settings: Settings) -> Finding:
    """Measures, and prints the tables."""
    described = device.describe_device()
    print(device.line(described), flush=True)
    ways = (WAYS[0], WAYS[2]) if settings.smoke else WAYS
    samples: dict[str, list[float]] = {way.name: [] for way in ways}
    losses: dict[str, float] = {}
    weights = 0
    for _ in range(settings.rounds):
        for way in ways:
            found = _train(way, settings)
            samples[way.name].append(found["images_per_second"])
            losses[way.name], weights = found["first_loss"], found["weights"]
    _require_equal(losses)
    rows = [(way, summarize(samples[way.name])) for way in ways]
    base = rows[0][1].median
    tables.show(
        "Images a second on this machine",
        {
            "processes": lambda row: str(row[0].processes),
            "devices each": lambda row: str(row[0].devices),
            "scaling": lambda row: row[0].scaling,
            "images in a step": lambda row: str(_batch(row[0], settings)),
            "images/s": lambda row: f"{row[1].median:,.0f}",
            "of one device": lambda row: f"{row[1].median / base:.2f}",
        },
        rows,
    )
    paper = [estimate(cluster, weights * 4) for cluster in CLUSTERS]
    tables.show(
        f"On paper: {weights:,} weights, {weights * 4 / 1000:,.0f} kB of gradients",
        {
            "cluster": lambda row: row["cluster"],
            "all-reduce, us": lambda row: f"{row['all_reduce_microseconds']:,.0f}",
            "step of 256 a device, us": lambda row: f"{row['step_microseconds']:,.0f}",
            "efficiency": lambda row: f"{row['efficiency']:.2f}",
            "batch a device for 0.9": lambda row: f"{row['batch_for_90_percent']:,}",
        },
        paper,
    )
    medians = {name: summarize(values).median for name, values in samples.items()}
    times = ", ".join(f"{medians[way.name] / base:.2f} as {way.name}" for way in ways[1:])
    eight, many = paper[0], paper[-1]
    answer = (
        f"relative to one device, images a second are (processes x devices of each) {times}; "
        f"on paper {eight['cluster']} reach "
        f"{eight['efficiency']:.0%} and {many['cluster']} {many['efficiency']:.0%} of "
        "linear at 256 images a device"
    )
    content = {
        "images_per_second": samples,
        "first_losses": losses,
        "paper": paper,
        "predicted_step_microseconds": PREDICTED_MICROSECONDS,
    }
    return Finding(described, answer, content, {"images_per_second": medians, "paper": paper})


def _batch(way: Way, settings: Settings) -> int:
    parts = way.processes * way.devices
    return settings.batch * (parts if way.scaling == "weak" else 1)


def _train(way: Way, settings: Settings) -> dict[str, Any]:
    """What process 0 says."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    point = {
        "processes": way.processes,
        "devices": way.devices,
        "batch": _batch(way, settings),
        "seconds": settings.seconds,
        "coordinator": f"127.0.0.1:{port}",
    }
    module = [sys.executable, "-m", "benchmarks.devices.training", json.dumps(point)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen([*module, str(own)], cwd=_ROOT, **pipes) for own in range(way.processes)
    ]
    ended = [process.communicate(timeout=300) for process in started]
    for process, (_, errors) in zip(started, ended, strict=True):
        if process.returncode:
            raise RunError(f"{way.name} ended with {process.returncode}: {errors[-500:]}")
    return json.loads(ended[0][0].splitlines()[-1])


def _require_equal(losses: dict[str, float]) -> None:
    """Raises RunError unless the same batches have the same losses."""
    for scaling in {name.split()[-1] for name in losses}:
        found = [loss for name, loss in losses.items() if name.endswith(scaling)]
        if max(found) - min(found) > _EQUAL * max(found):
            raise RunError(f"the divisions of a batch do not compute the same: {losses}")
