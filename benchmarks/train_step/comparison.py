"""The conductor of the training step's benchmark: model by model, batch size by batch size."""

import datetime
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.common import device
from benchmarks.common.roofline import Ceilings, measure_ceilings
from benchmarks.common.workers import resident
from benchmarks.layouts.comparison import plain, to_text
from benchmarks.train_step import figure as step_figure
from benchmarks.train_step import report as step_report
from benchmarks.train_step.race import greet, prove, time_bursts
from benchmarks.train_step.rows import VARIANTS, Row, Variant
from benchmarks.train_step.steps.in_flaxae import count_flops
from benchmarks.train_step.steps.workload import Workload
from flaxae.runs.workdir import write_atomically

if TYPE_CHECKING:
    from benchmarks.train_step.__main__ import Settings

# Steps: many at one batch size, and a few of every program that is timed.
_LONG_PROOF, _SHORT_PROOF = 20, 3
_LONG_AT = 64  # images in a batch, or the next smaller: with more, many steps would take minutes


def compare_steps(settings: "Settings") -> None:
    """Measures, shows and writes everything.

    Raises:
        WorkerFailed: one of flaxae's own workers cannot go on.
        StepsDiffer: flaxae's two forms do not compute the same.
        OSError: a result cannot be written.
    """
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    described = device.describe_device()
    step_report.show_start(described, settings.peers)
    ceilings = measure_ceilings("float32", smoke=settings.smoke)
    versions: dict[str, str] = {}
    rows: list[Row] = []
    for model in settings.models:
        for row in measure(settings, model, ceilings, versions):
            step_report.show_progress(row)
            rows.append(row)
    sentence = step_report.answer(rows, described, settings.smoke)
    step_report.show(rows, ceilings)
    print(f"\n{sentence}\n")
    report = {
        "benchmark": "train_step",
        "sentence": sentence,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": described,
        "software": device.describe_software() | versions,
        "settings": {k: v for k, v in plain(vars(settings)).items() if k != "output_dir"},
        "ceilings": plain(ceilings),
        "rows": plain(rows),
    }
    name = f"train_step-{device.name_for_files(described['kind'])}"
    name += "-smoke" if settings.smoke else ""  # which overwrites no result
    results, picture = (settings.output_dir / f"{name}.{ending}" for ending in ("json", "png"))
    write_atomically(results, to_text(report).encode())
    write_atomically(picture, step_figure.draw(rows, described, sentence))
    print(f"results {results}\npicture {picture}")
    print(json.dumps(brief(report, rows) | {"results": str(results), "picture": str(picture)}))


def measure(
    settings: "Settings", model: str, ceilings: Ceilings, versions: dict[str, str]
) -> Iterator[Row]:
    """All batch sizes of a model, with its workers resident; adds what they run to `versions`."""
    chosen = [variant for variant in VARIANTS if takes_part(variant, model, settings.peers)]
    commands = {variant.name: command(variant, model) for variant in chosen}
    with resident(commands) as workers:
        ready = greet(workers, versions)
        # From small to large, because a process tells the most memory that it ever had.
        sizes = sorted(settings.batch_sizes)
        proven_at = max((size for size in sizes if size <= _LONG_AT), default=sizes[0])
        for batch_size in sizes:
            steps = _LONG_PROOF if batch_size == proven_at else _SHORT_PROOF
            proofs = prove(ready, batch_size, steps)
            ready = {name: ready[name] for name in proofs}  # without those that failed
            unequal = {name: proof for name, proof in proofs.items() if not proof.equal}
            for name, proof in unequal.items():
                step_report.show_unequal(name, model, batch_size, proof)
            equal = {name: ready[name] for name in proofs if name not in unequal}
            results = time_bursts(equal, proofs, settings.repeats)
            flops = count_flops(Workload(model), batch_size)
            floor = None if flops is None else flops / ceilings.flops_per_second
            yield Row(model, batch_size, flops, floor, results, unequal)


def takes_part(variant: Variant, model: str, peers: Sequence[str]) -> bool:
    """Whether the flags and the model ask for a variant."""
    wanted = variant.peer is None or variant.peer in peers
    return wanted and (variant.models is None or model in variant.models)


def command(variant: Variant, model: str) -> list[str]:
    """What Python is to run in a worker."""
    return ["-m", "benchmarks.train_step.worker", variant.framework, variant.form, model]


def brief(report: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The last line for machines: the answer, and each variant's time and ratio."""
    return {
        "benchmark": "train_step",
        "device": report["device"]["kind"],
        "sentence": report["sentence"],
        "rows": [
            {
                "model": row.model,
                "batch_size": row.batch_size,
                "variant": name,
                "seconds": result.wall.median,
                "ratio": result.ratio.value,
                "low": result.ratio.low,
                "high": result.ratio.high,
            }
            for row in rows
            for name, result in row.results.items()
        ],
    }
