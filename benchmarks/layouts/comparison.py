"""Compares both layouts in every combination of model, type, batch size and pass."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks.common import device, roofline, tables
from benchmarks.common.intervals import ratio_of_medians, summarize
from benchmarks.common.report import Finding
from benchmarks.common.timing import calls_per_sample, interleave
from benchmarks.layouts import conclusions, figure, hlo, programs, report
from benchmarks.layouts.convolutions import convolutions, moves
from benchmarks.layouts.programs import LAYOUTS, Combination
from benchmarks.layouts.proof import prove_equal
from benchmarks.layouts.rows import LayoutResult, Row
from benchmarks.layouts.settings import Settings

_BATCHES = 8  # rotated, so that no step gets the batch of the step before
_SHORTEST_SAMPLE = 5e-3  # seconds, so that the host's overhead does not count


def compare_layouts(settings: Settings) -> Finding:
    """Measures, and prints the tables.

    Raises:
        LayoutsDiffer: the layouts do not compute the same.
    """
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is timed
    described = device.describe_device()
    precision = described["matmul_precision"]
    print(f"{device.line(described)}; kernels {settings.kernels}, matmul precision {precision}")
    ceilings = {
        dtype: roofline.measure_ceilings(dtype, smoke=settings.smoke) for dtype in settings.dtypes
    }
    rows: list[Row] = []
    for row in measure(settings, ceilings):
        rows.append(row)
        nhwc, nchw = (tables.milliseconds(row.layouts[each].time.median) for each in LAYOUTS)
        ratio = tables.interval(row.ratio, 3)
        print(f"{row.title()}: NHWC {nhwc} ms, NCHW {nchw} ms, {ratio}", flush=True)
    peak = device.peak_bytes()
    report.show(rows, ceilings, peak)
    return Finding(
        described,
        conclusions.answer(rows),
        {"ceilings": ceilings, "device_peak_bytes": peak, "rows": rows},
        {"ratios": [_brief(row) for row in rows]},
        figure.draw(rows),
        "NHWC and NCHW",
    )


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
    """Every combination in every pass."""
    for combination in combinations(settings):
        states = programs.make_states(combination)
        batches = programs.make_batches(combination, _BATCHES)
        proof = prove_equal(states, batches[0], combination.dtype)
        for passing in settings.passes:
            compiled = [programs.compile_pass(passing, states[o], batches[0]) for o in LAYOUTS]
            variants = {o: program.run for o, program in zip(LAYOUTS, compiled, strict=True)}
            calls = calls_per_sample(variants, batches, shortest_sample=_SHORTEST_SAMPLE)
            samples = interleave(variants, batches, repeats=settings.repeats, calls=calls)
            parsed = [hlo.parse(program.executable.as_text() or "") for program in compiled]
            limits = ceilings[combination.dtype]
            results = {
                layout: _result(*each, samples[layout], limits)
                for layout, *each in zip(LAYOUTS, compiled, parsed, strict=True)
            }
            ratio = ratio_of_medians(samples["NCHW"], samples["NHWC"])
            same = all(parsed) and hlo.same_instructions(*parsed)
            why = conclusions.explain(*results.values(), same)
            if not all(parsed):
                why = "not reported: this backend does not print its programs"
            yield Row(combination, passing, proof, calls, results, ratio, same, why)


def _result(
    compiled: programs.Compiled,
    program: hlo.Program,
    samples: list[float],
    ceilings: roofline.Ceilings,
) -> LayoutResult:
    cost = roofline.cost(compiled.lowered, compiled.executable)
    return LayoutResult(
        compiled.trace_seconds,
        compiled.compile_seconds,
        summarize(samples),
        samples,
        cost,
        roofline.floor_seconds(cost, ceilings),
        roofline.memory_bytes(compiled.executable),
        convolutions(program, device.runtime()),
        moves(program),
    )


def _brief(row: Row) -> dict[str, Any]:
    names = ("model", "downsample", "dtype", "batch_size")
    named = {name: getattr(row.combination, name) for name in names}
    values = {name: getattr(row.ratio, name) for name in ("value", "low", "high")}
    return named | {"pass": row.passing} | values
