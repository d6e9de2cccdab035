"""Resident workers: proved to train the same, then timed in turns."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.common.intervals import Interval, Summary, ratio_of_medians, summarize
from benchmarks.common.workers import Worker, WorkerFailed
from benchmarks.train_step.worker import Burst
from flaxae.errors import RunError

REFERENCE = "flaxae plain"  # defines the losses that are right
SUBJECT = "flaxae fast"  # the denominator of all ratios
TOLERANCE = 1e-4  # nats a pixel: the largest difference between the losses of equal steps
_SHORTEST_BURST = 0.25  # seconds: in the first step of a burst the caches hold others' data
_MOST_STEPS = 200  # in a burst


class StepsDiffer(RunError):
    """flaxae's two forms do not compute the same."""


class Proof(NamedTuple):
    """How far a variant's losses are from those of the reference."""

    steps: int
    difference: float  # the largest, nats a pixel
    equal: bool


class Result(NamedTuple):
    """The times of one variant, in seconds a step."""

    proof: Proof
    steps_per_burst: int
    wall: Summary
    cpu: Summary
    faults: float  # median of page faults a step
    peak_bytes: int  # of the whole process since its start
    ratio: Interval  # wall time / wall time of the subject
    wall_samples: list[float]
    cpu_samples: list[float]
    fault_samples: list[float]


def greet(workers: dict[str, Worker], versions: dict[str, str]) -> dict[str, Worker]:
    """The workers on flaxae's device; adds the versions of their libraries to `versions`."""
    greetings = _ask_all(workers, "greet")
    platform, _ = greetings[SUBJECT]
    for name, (device, libraries) in list(greetings.items()):
        versions |= libraries
        if device != platform:
            print(f"not compared: {name} runs on {device}, flaxae on {platform}")
            del greetings[name]
    return {name: workers[name] for name in greetings}


def prove(workers: dict[str, Worker], batch_size: int, steps: int) -> dict[str, Proof]:
    """Trains all workers from the same weights on the same batches, and compares their losses.

    Raises:
        StepsDiffer: flaxae's two forms do not compute the same.
    """
    losses = _ask_all(workers, "prove", batch_size, steps)
    proofs = {name: compare_losses(each, losses[REFERENCE]) for name, each in losses.items()}
    if not proofs[SUBJECT].equal:
        raise StepsDiffer(
            f"at batch size {batch_size} the losses of {SUBJECT} and {REFERENCE} differ by "
            f"{proofs[SUBJECT].difference:.2g} nats a pixel; timings would not compare equal work"
        )
    return proofs


def compare_losses(losses: Sequence[float], reference: Sequence[float]) -> Proof:
    """Compares two trainings step by step; NaN is never equal."""
    differences = [abs(one - other) for one, other in zip(losses, reference, strict=True)]
    equal = all(difference <= TOLERANCE for difference in differences)
    return Proof(len(differences), max(differences), equal)


def time_bursts(
    workers: dict[str, Worker], proofs: dict[str, Proof], repeats: int
) -> dict[str, Result]:
    """Times bursts in the order A B C A B C, each of as many steps as take a quarter second."""
    steps = {}
    for name, worker in workers.items():
        first: Burst = worker.ask("burst", 1)
        steps[name] = min(_MOST_STEPS, max(1, math.ceil(_SHORTEST_BURST / first.wall)))
    bursts: dict[str, list[Burst]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            bursts[name].append(worker.ask("burst", steps[name]))
    subject = [burst.wall for burst in bursts[SUBJECT]]
    results = {}
    for name, samples in bursts.items():
        wall, cpu, faults, peaks = (list(column) for column in zip(*samples, strict=True))
        medians = (summarize(wall), summarize(cpu), statistics.median(faults), max(peaks))
        ratio = ratio_of_medians(wall, subject)
        results[name] = Result(proofs[name], steps[name], *medians, ratio, wall, cpu, faults)
    return results


def _ask_all(workers: dict[str, Worker], *request: Any) -> dict[str, Any]:
    """The replies of all workers, one after another, without the peers that fail.

    Raises:
        WorkerFailed: one of flaxae's two forms fails.
    """
    replies = {}
    for name, worker in workers.items():
        try:
            replies[name] = worker.ask(*request)
        except WorkerFailed as error:
            if name in (SUBJECT, REFERENCE):
                raise
            print(f"not compared: {error}")
    return replies
