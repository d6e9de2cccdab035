"""What the benchmark of the training step compares, and what it finds out, row by row."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.common.intervals import Interval, Summary

TOLERANCE = 1e-4  # nats a pixel: the largest difference of two losses that makes them equal


class Variant(NamedTuple):
    """A form of the step."""

    name: str
    framework: str  # the module benchmarks/train_step/steps/in_<framework>.py
    form: str  # its word for `build`
    peer: str | None  # the value of --peers that asks for it
    spins: bool = False  # threads wait for each other in loops: crawls beside other work
    models: tuple[str, ...] | None = None  # those for which it differs from its neighbor; all


_CONVOLUTIONAL = ("convolutional", "convolutional_stride")
REFERENCE = "flaxae plain"  # the meaning that the others have to have
SUBJECT = "flaxae fast"  # what the others are compared with
VARIANTS = (
    Variant(SUBJECT, "flaxae", "fast", None),
    Variant(REFERENCE, "flaxae", "plain", None),
    Variant("flax.linen", "linen", "plain", None),
    Variant("Keras", "keras", "plain", "keras"),
    Variant("Keras XLA", "keras", "jit_compile", "keras"),
    Variant("PyTorch", "torch", "contiguous", "torch", spins=True),
    Variant("PyTorch NHWC", "torch", "channels_last", "torch", True, _CONVOLUTIONAL),
)


class StepsDiffer(Exception):
    """flaxae's own forms do not compute the same: there is nothing to compare."""


class Proof(NamedTuple):
    """How far a variant's losses are from those of the reference."""

    steps: int
    difference: float  # the largest, nats a pixel
    equal: bool


class Result(NamedTuple):
    """One variant's steps; times in seconds a step."""

    proof: Proof
    steps_per_burst: int
    wall: Summary
    cpu: Summary
    faults: float  # page faults a step, median
    peak_bytes: int  # of the whole process since its start
    ratio: Interval  # wall time over that of flaxae's fast form
    wall_samples: list[float]
    cpu_samples: list[float]
    fault_samples: list[float]


class Row(NamedTuple):
    """One model and batch size in all variants that were proven equal."""

    model: str
    batch_size: int
    flops: float | None  # of a step, counted by XLA in the plain form
    floor_seconds: float | None  # those at the rate of a large matrix product
    results: dict[str, Result]
    unequal: dict[str, Proof]  # not timed


def compare_losses(losses: Sequence[float], reference: Sequence[float]) -> Proof:
    """Whether two trainings are the same, step by step; a NaN never is."""
    differences = [abs(one - other) for one, other in zip(losses, reference, strict=True)]
    equal = all(difference <= TOLERANCE for difference in differences)
    return Proof(len(differences), max(differences), equal)
