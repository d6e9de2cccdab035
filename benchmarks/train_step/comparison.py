"""The variants of the step in resident workers: proved to train the same, then timed in turns."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.common.intervals import Interval, Summary, ratio_of_medians, summarize
from benchmarks.common.steps.in_flaxae import count_flops
from benchmarks.common.steps.workload import Workload
from benchmarks.common.workers import Worker, WorkerFailed, resident
from benchmarks.train_step import Settings
from benchmarks.train_step.worker import Burst, Session
from flaxae.errors import RunError

REFERENCE = "flaxae plain"  # defines the losses that are right
SUBJECT = "flaxae fast"  # the denominator of all ratios
TOLERANCE = 1e-4  # nats a pixel: the largest difference between the losses of equal steps
# Steps of a proof: many at one batch size, and a few at each other size that is timed.
_LONG_PROOF, _SHORT_PROOF = 20, 3
_LONG_AT = 64  # images in a batch, or the next smaller size: larger ones would take minutes
_SHORTEST_BURST = 0.25  # seconds: in the first step of a burst the caches hold others' data
_MOST_STEPS = 200  # in a burst


class Variant(NamedTuple):
    """A form of the step."""

    name: str
    framework: str  # the module benchmarks/common/steps/in_<framework>.py
    form: str  # passed to the module's `build`
    peer: str | None = None  # the value of --peers that adds it
    fully_connected: bool = True  # whether it exists for the fully connected model
    only_on: str | None = None  # the device that it is compared on


VARIANTS = (
    Variant(SUBJECT, "flaxae", "fast"),
    Variant(REFERENCE, "flaxae", "plain"),
    Variant("flax.linen", "linen", "plain"),
    Variant("Keras", "keras", "plain", "keras"),
    Variant("Keras XLA", "keras", "jit_compile", "keras"),
    Variant("PyTorch", "torch", "contiguous", "torch"),
    Variant("PyTorch NHWC", "torch", "channels_last", "torch", fully_connected=False),
    Variant("PyTorch compiled", "torch", "compiled", "torch", only_on="gpu"),
)


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


class Row(NamedTuple):
    """One model and batch size in all variants whose losses are equal."""

    model: str
    batch_size: int
    flops: float | None  # of a step, XLA's count for the plain form
    floor_seconds: float | None  # these operations at the rate of a large matrix product
    results: dict[str, Result]
    unequal: dict[str, Proof]  # variants that are not timed

    def title(self) -> str:
        return f"{self.model}, batch {self.batch_size}"


def measure(settings: Settings, model: str, flops_per_second: float) -> Iterator[Row]:
    """All batch sizes of a model; raises as `prove`."""
    sessions = {
        variant.name: Session(variant.framework, variant.form, model)
        for variant in VARIANTS
        if variant.peer in (None, *settings.peers)
        and (variant.fully_connected or model != "fully_connected")
        and variant.only_on in (None, jax.default_backend())
    }
    with resident(sessions) as workers:
        devices = _ask_all(workers, "greet")
        for name, device in devices.items():
            if device != devices[SUBJECT]:
                print(f"not compared: {name} runs on {device}, flaxae on {devices[SUBJECT]}")
        ready = {name: workers[name] for name in devices if devices[name] == devices[SUBJECT]}
        sizes = sorted(set(settings.batch_sizes))  # ascending, because a process' peak only grows
        proved_at = max((size for size in sizes if size <= _LONG_AT), default=sizes[0])
        for batch_size in sizes:
            steps = _LONG_PROOF if batch_size == proved_at else _SHORT_PROOF
            proofs = prove(ready, batch_size, steps)
            ready = {name: ready[name] for name in proofs}  # without those that failed
            equal = {name: worker for name, worker in ready.items() if proofs[name].equal}
            unequal = {name: proof for name, proof in proofs.items() if not proof.equal}
            results = time_bursts(equal, proofs, settings.repeats)
            flops = count_flops(Workload(model), batch_size)
            floor = None if flops is None else flops / flops_per_second
            yield Row(model, batch_size, flops, floor, results, unequal)


def prove(workers: dict[str, Worker], batch_size: int, steps: int) -> dict[str, Proof]:
    """Trains all from the same weights on the same batches; RunError if flaxae's forms differ."""
    losses = _ask_all(workers, "prove", batch_size, steps)
    proofs = {name: compare_losses(each, losses[REFERENCE]) for name, each in losses.items()}
    if not proofs[SUBJECT].equal:
        raise RunError(
            f"at batch size {batch_size} the losses of {SUBJECT} and {REFERENCE} differ by "
            f"{proofs[SUBJECT].difference:.2g} nats a pixel; timings would not compare equal work"
        )
    return proofs


def compare_losses(losses: Sequence[float], reference: Sequence[float]) -> Proof:
    """Compares two trainings step by step; NaN is never equal."""
    difference = float(np.abs(np.subtract(losses, reference)).max())
    return Proof(len(losses), difference, difference <= TOLERANCE)


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
    results = {}
    for name, samples in bursts.items():
        wall, cpu, faults, peaks = map(list, zip(*samples, strict=True))
        medians = (summarize(wall), summarize(cpu), summarize(faults).median, max(peaks))
        ratio = ratio_of_medians(wall, [burst.wall for burst in bursts[SUBJECT]])
        results[name] = Result(proofs[name], steps[name], *medians, ratio, wall, cpu, faults)
    return results


def _ask_all(workers: dict[str, Worker], *request: Any) -> dict[str, Any]:
    """The replies of all workers, one after another, without the peers that fail."""
    replies = {}
    for name, worker in workers.items():
        try:
            replies[name] = worker.ask(*request)
        except WorkerFailed as error:
            if name in (SUBJECT, REFERENCE):
                raise
            print(f"not compared: {error}")
    return replies
