"""The conductor of the layout benchmark: combination by combination, then the report."""

import datetime
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from benchmarks.common import device
from benchmarks.common.intervals import ratio_of_medians, summarize
from benchmarks.common.roofline import Ceilings, floor_seconds, measure_ceilings, memory_bytes
from benchmarks.common.timing import calls_per_sample, interleave
from benchmarks.layouts import figure as layout_figure
from benchmarks.layouts import report as layout_report
from benchmarks.layouts.compiled import convolutions, moves
from benchmarks.layouts.hlo import Program, parse, same_instructions
from benchmarks.layouts.programs import (
    LAYOUTS,
    Combination,
    Compiled,
    compile_pass,
    make_batches,
    make_states,
    prove_equal,
)
from benchmarks.layouts.rows import LayoutResult, Row
from flaxae.runs.workdir import write_atomically

if TYPE_CHECKING:
    from benchmarks.layouts.__main__ import Settings

_BATCHES = 8  # rotated; the timed step never sees the batch that it has just seen
_SHORTEST_SAMPLE = 5e-3  # seconds, far above what waking up the host costs


def compare_layouts(settings: "Settings") -> None:
    """Measures, shows and writes everything.

    Raises:
        LayoutsDiffer: the layouts do not agree; nothing is timed after that.
        OSError: a result cannot be written.
    """
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    # A cached program would make compilation look free.
    jax.config.update("jax_enable_compilation_cache", False)
    described = device.describe_device()
    layout_report.show_start(described, settings.kernels)
    ceilings = {dtype: measure_ceilings(dtype, smoke=settings.smoke) for dtype in settings.dtypes}
    rows: list[Row] = []
    for row in measure(settings, ceilings):
        layout_report.show_progress(row)
        rows.append(row)
    sentence = layout_report.answer(rows, described, settings.smoke)
    layout_report.show(rows, ceilings, device.peak_bytes())
    print(f"\n{sentence}\n")
    report = {
        "benchmark": "layouts",
        "sentence": sentence,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": described,
        "software": device.describe_software(),
        "settings": {k: v for k, v in plain(vars(settings)).items() if k != "output_dir"},
        "ceilings": plain(ceilings),
        "device_peak_bytes": device.peak_bytes(),
        "rows": plain(rows),
    }
    results, picture = paths(settings, described)
    write_atomically(results, to_text(report).encode())
    write_atomically(picture, layout_figure.draw(rows, described, sentence))
    print(f"results {results}\npicture {picture}")
    print(json.dumps(brief(report, results, picture)))


def measure(settings: "Settings", ceilings: dict[str, Ceilings]) -> Iterator[Row]:
    """Every combination in every pass, one after the other."""
    for combination in combinations(settings):
        states = make_states(combination)
        batches = make_batches(combination, _BATCHES)
        proof = prove_equal(states, batches[0], combination.dtype)
        for passing in settings.passes:
            compiled = {
                layout: compile_pass(passing, states[layout], batches[0]) for layout in LAYOUTS
            }
            variants = {layout: program.run for layout, program in compiled.items()}
            calls = calls_per_sample(variants, batches, shortest_sample=_SHORTEST_SAMPLE)
            samples = interleave(variants, batches, repeats=settings.repeats, calls=calls)
            texts = {layout: p.executable.as_text() or "" for layout, p in compiled.items()}
            programs = {layout: parse(text) for layout, text in texts.items()}
            results = {
                layout: _result(
                    compiled[layout], programs[layout], samples[layout], ceilings[combination.dtype]
                )
                for layout in LAYOUTS
            }
            same = all(texts.values()) and same_instructions(*programs.values())
            yield Row(
                combination,
                passing,
                proof,
                calls,
                results,
                ratio_of_medians(samples["NCHW"], samples["NHWC"]),
                same,
                layout_report.explain(results["NHWC"], results["NCHW"], same)
                if all(texts.values())
                else "not reported: this backend shows no text of its programs",
            )


def combinations(settings: "Settings") -> list[Combination]:
    """What the flags ask for; the fully connected model has no way to halve, so it comes once."""
    grid = itertools.product(
        settings.models, settings.downsample, settings.dtypes, settings.batch_sizes
    )
    return [
        Combination(
            model,
            settings.filters,
            downsample,
            dtype,
            size,
            settings.kernels,
            settings.image_shape,
        )
        for model, downsample, dtype, size in grid
        if model == "convolutional" or downsample == settings.downsample[0]
    ]


def paths(settings: "Settings", described: dict[str, Any]) -> tuple[Path, Path]:
    """Where JSON and PNG go; a smoke run overwrites no result."""
    name = f"layouts-{device.name_for_files(described['kind'])}"
    name += "-smoke" if settings.smoke else ""
    return settings.output_dir / f"{name}.json", settings.output_dir / f"{name}.png"


def plain(value: Any) -> Any:
    """Named tuples as dictionaries and paths as text, all the way down; for JSON."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def to_text(report: dict[str, Any]) -> str:
    """Indented JSON with a list of numbers on one line."""
    text = json.dumps(report, indent=1)
    lists = re.compile(r"\[\s+([-+.\de]+(?:,\s+[-+.\de]+)*)\s+\]")
    return lists.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def brief(report: dict[str, Any], results: Path, picture: Path) -> dict[str, Any]:
    """The last line for machines: the answer, the ratios, and where the rest is."""
    names = ("model", "downsample", "dtype", "batch_size")
    return {
        "benchmark": "layouts",
        "device": report["device"]["kind"],
        "sentence": report["sentence"],
        "ratios": [
            {name: row["combination"][name] for name in names}
            | {"pass": row["passing"]}
            | {key: row["ratio"][key] for key in ("value", "low", "high")}
            for row in report["rows"]
        ],
        "results": str(results),
        "picture": str(picture),
    }


def _result(
    compiled: Compiled, program: Program, samples: list[float], ceilings: Ceilings
) -> LayoutResult:
    return LayoutResult(
        compiled.trace_seconds,
        compiled.compile_seconds,
        summarize(samples),
        samples,
        compiled.cost,
        floor_seconds(compiled.cost, ceilings),
        memory_bytes(compiled.executable),
        convolutions(program, device.runtime()),
        moves(program),
    )
