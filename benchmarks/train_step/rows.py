"""The variants of the training step, and what the benchmark measures of each."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.common.intervals import Interval, Summary

TOLERANCE = 1e-4  # nats a pixel: the largest difference between the losses of equal steps


class Variant(NamedTuple):
    """A form of the step."""

    name: str
    framework: str  # the module benchmarks/train_step/steps/in_<framework>.py
    form: str  # passed to the module's `build`
    peer: str | None  # the value of --peers that adds it
    models: tuple[str, ...] | None = None  # those for which the form exists; None: all


_CONVOLUTIONAL = ("convolutional", "convolutional_stride")
REFERENCE = "flaxae plain"  # defines the losses that are right
SUBJECT = "flaxae fast"  # the denominator of all ratios
VARIANTS = (
    Variant(SUBJECT, "flaxae", "fast", None),
    Variant(REFERENCE, "flaxae", "plain", None),
    Variant("flax.linen", "linen", "plain", None),
    Variant("Keras", "keras", "plain", "keras"),
    Variant("Keras XLA", "keras", "jit_compile", "keras"),
    Variant("PyTorch", "torch", "contiguous", "torch"),
    Variant("PyTorch NHWC", "torch", "channels_last", "torch", _CONVOLUTIONAL),
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


def compare_losses(losses: Sequence[float], reference: Sequence[float]) -> Proof:
    """Compares two trainings step by step; NaN is never equal."""
    differences = [abs(one - other) for one, other in zip(losses, reference, strict=True)]
    equal = all(difference <= TOLERANCE for difference in differences)
    return Proof(len(differences), max(differences), equal)
