"""What the layout benchmark measures, row by row."""

from typing import NamedTuple

from benchmarks.common.intervals import Interval, Summary
from benchmarks.common.roofline import Cost
from benchmarks.layouts.convolutions import Convolution, Moves
from benchmarks.layouts.programs import Combination
from benchmarks.layouts.proof import Proof


class LayoutResult(NamedTuple):
    """One layout's program in one row; seconds are per call."""

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
    ratio: Interval  # time of NCHW / time of NHWC
    same_program: bool
    explanation: str

    def title(self) -> str:
        c = self.combination
        kind = c.downsample if c.model == "convolutional" else c.model
        return f"{kind}, {c.dtype}, batch {c.batch_size}, {self.passing}"
