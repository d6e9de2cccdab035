"""What the layout benchmark finds out, row by row."""

from typing import NamedTuple

from benchmarks.common.intervals import Interval, Summary
from benchmarks.common.roofline import Cost
from benchmarks.layouts.compiled import Convolution, Moves
from benchmarks.layouts.programs import Combination, Proof


class LayoutResult(NamedTuple):
    """One layout's program in one row; seconds are those of one call."""

    trace_seconds: float
    compile_seconds: float
    time: Summary
    samples: list[float]
    cost: Cost
    floor_seconds: float | None
    memory_bytes: int | None
    convolutions: list[Convolution]
    moves: Moves


class Row(NamedTuple):
    """One combination and pass in both layouts."""

    combination: Combination
    passing: str  # "train" or "forward"
    proof: Proof
    calls_per_sample: int
    layouts: dict[str, LayoutResult]
    ratio: Interval  # NCHW / NHWC
    same_program: bool
    explanation: str
