"""Proves and times both layouts in every combination of model, type, batch size and pass."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax

from benchmarks.common import hlo, launches, roofline
from benchmarks.common.device import runtime
from benchmarks.common.intervals import Interval, Summary, ratio_of_medians, summarize
from benchmarks.common.timing import calls_per_sample, interleave
from benchmarks.layouts import Settings, programs
from benchmarks.layouts.programs import LAYOUTS, Combination, Proof
from flaxae.models import ops

_BATCHES = 8  # rotated, so that no step gets the batch of the step before
_SHORTEST_SAMPLE = 5e-3  # seconds, so that the host's overhead does not count


class LayoutResult(NamedTuple):
    """One layout's program in one row; seconds are per call."""

    compile_seconds: float
    time: Summary
    samples: list[float]
    cost: roofline.Cost
    floor_seconds: float | None
    memory_bytes: int | None
    convolutions: list[hlo.Convolution]
    moves: hlo.Moves


class Row(NamedTuple):
    """One combination and pass in both layouts."""

    combination: Combination
    passing: str  # "train" or "forward"
    proof: Proof
    calls_per_sample: int
    layouts: dict[str, LayoutResult]
    ratio: Interval  # time of NCHW / time of NHWC
    same_program: bool | None  # None: the backend does not print its programs

    def title(self) -> str:
        c = self.combination
        kind = c.downsample if c.model == "convolutional" else c.model
        return f"{kind}, {c.dtype}, batch {c.batch_size}, {self.passing}"


def combinations(settings: Settings) -> list[Combination]:
    """What the flags ask for; the fully connected model has no downsampling and comes once."""
    s = settings
    grid = itertools.product(s.models, s.downsample, s.dtypes, s.batch_sizes)
    return [
        Combination(model, s.filters, downsample, dtype, size, s.kernels, s.image_shape)
        for model, downsample, dtype, size in grid
        if model == "convolutional" or downsample == s.downsample[0]
    ]


def measure(settings: Settings, ceilings: dict[str, roofline.Ceilings]) -> Iterator[Row]:
    """Every combination in every pass; raises as `programs.prove_equal`."""
    for combination in combinations(settings):
        states = programs.make_states(combination)
        batches = programs.make_batches(combination, _BATCHES)
        proof = programs.prove_equal(states, batches[0], combination.dtype)
        for passing in settings.passes:
            # As `place` decides, for the form that the layers take.
            joined = ops.operations(combination.kernels, jax.default_backend()) is ops.gpu  # type: ignore[arg-type]
            arguments = {o: (passing, states[o], batches[0], joined) for o in LAYOUTS}
            compiled = {o: programs.compile_pass(*each) for o, each in arguments.items()}
            runs = {layout: run for layout, (*_, run) in compiled.items()}
            calls = calls_per_sample(runs, batches, shortest=_SHORTEST_SAMPLE)
            samples = interleave(runs, batches, repeats=settings.repeats, calls=calls)
            parsed = {o: hlo.parse(each[1].as_text() or "") for o, each in compiled.items()}
            results = {}
            for layout, (lowered, executable, seconds, _) in compiled.items():
                times = (seconds, summarize(samples[layout]), samples[layout])
                cost = roofline.cost(lowered, executable)
                if runtime() == "cuda":  # XLA's own count leaves out what cuDNN reads and writes
                    moved = launches.count(executable.as_text() or "").bytes
                    cost = cost._replace(bytes_accessed=moved)
                floor = roofline.floor_seconds(cost, ceilings[combination.dtype])
                memory = roofline.memory_bytes(executable)
                found = hlo.convolutions(parsed[layout], runtime()), hlo.moves(parsed[layout])
                results[layout] = LayoutResult(*times, cost, floor, memory, *found)
            ratio = ratio_of_medians(samples["NCHW"], samples["NHWC"])
            same = hlo.same_instructions(*parsed.values()) if all(parsed.values()) else None
            yield Row(combination, passing, proof, calls, results, ratio, same)
