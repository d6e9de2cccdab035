"""Measures the variants of the training step, model by model and batch size by batch size."""

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.common.workers import resident
from benchmarks.train_step import race
from benchmarks.train_step.race import REFERENCE, SUBJECT, Proof, Result
from benchmarks.train_step.settings import Settings
from benchmarks.train_step.steps.in_flaxae import count_flops
from benchmarks.train_step.steps.workload import Workload
from benchmarks.train_step.worker import Session

# Steps of a proof: many at one batch size, and a few at each other size that is timed.
_LONG_PROOF, _SHORT_PROOF = 20, 3
_LONG_AT = 64  # images in a batch, or the next smaller size: larger ones would take minutes


class Variant(NamedTuple):
    """A form of the step."""

    name: str
    framework: str  # the module benchmarks/train_step/steps/in_<framework>.py
    form: str  # passed to the module's `build`
    peer: str | None = None  # the value of --peers that adds it
    fully_connected: bool = True  # whether it exists for the fully connected model


VARIANTS = (
    Variant(SUBJECT, "flaxae", "fast"),
    Variant(REFERENCE, "flaxae", "plain"),
    Variant("flax.linen", "linen", "plain"),
    Variant("Keras", "keras", "plain", "keras"),
    Variant("Keras XLA", "keras", "jit_compile", "keras"),
    Variant("PyTorch", "torch", "contiguous", "torch"),
    Variant("PyTorch NHWC", "torch", "channels_last", "torch", fully_connected=False),
)


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


def measure(
    settings: Settings, model: str, flops_per_second: float, versions: dict[str, str]
) -> Iterator[Row]:
    """All batch sizes of a model; adds the versions of the workers' libraries to `versions`.

    Raises:
        WorkerFailed: one of flaxae's two forms fails.
        StepsDiffer: flaxae's two forms do not compute the same.
    """
    sessions = {
        variant.name: Session(variant.framework, variant.form, model)
        for variant in VARIANTS
        if variant.peer in (None, *settings.peers)
        and (variant.fully_connected or model != "fully_connected")
    }
    with resident(sessions) as workers:
        ready = race.greet(workers, versions)
        sizes = sorted(set(settings.batch_sizes))  # ascending, because a process' peak only grows
        proved_at = max((size for size in sizes if size <= _LONG_AT), default=sizes[0])
        for batch_size in sizes:
            steps = _LONG_PROOF if batch_size == proved_at else _SHORT_PROOF
            proofs = race.prove(ready, batch_size, steps)
            ready = {name: ready[name] for name in proofs}  # without those that failed
            equal = {name: worker for name, worker in ready.items() if proofs[name].equal}
            unequal = {name: proof for name, proof in proofs.items() if not proof.equal}
            results = race.time_bursts(equal, proofs, settings.repeats)
            flops = count_flops(Workload(model), batch_size)
            floor = None if flops is None else flops / flops_per_second
            yield Row(model, batch_size, flops, floor, results, unequal)
