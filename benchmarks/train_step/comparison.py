"""Compares the variants of the training step, model by model and batch size by batch size."""

from collections.abc import Iterator
from typing import Any

from benchmarks.common import device, roofline, workers
from benchmarks.common.report import Finding
from benchmarks.common.tables import milliseconds
from benchmarks.train_step import figure, race, report
from benchmarks.train_step.rows import TOLERANCE, VARIANTS, Row
from benchmarks.train_step.settings import Settings
from benchmarks.train_step.steps.in_flaxae import count_flops
from benchmarks.train_step.steps.workload import Workload
from benchmarks.train_step.worker import Session

# Steps of a proof: many at one batch size, and a few at each other size that is timed.
_LONG_PROOF, _SHORT_PROOF = 20, 3
_LONG_AT = 64  # images in a batch, or the next smaller size: larger ones would take minutes


def compare_steps(settings: Settings) -> Finding:
    """Measures, and prints the tables.

    Raises:
        WorkerFailed: one of flaxae's two forms fails.
        StepsDiffer: flaxae's two forms do not compute the same.
    """
    described = device.describe_device()
    print(f"{device.line(described)}; peers: {', '.join(settings.peers) or 'none'}", flush=True)
    ceilings = roofline.measure_ceilings("float32", smoke=settings.smoke)
    versions: dict[str, str] = {}
    rows: list[Row] = []
    for model in settings.models:
        for row in measure(settings, model, ceilings, versions):
            rows.append(row)
            times = (f"{name} {milliseconds(r.wall.median)}" for name, r in row.results.items())
            print(f"{row.title()}, ms: {', '.join(times)}", flush=True)
    report.show(rows, ceilings)
    return Finding(
        described,
        report.answer(rows),
        {"ceilings": ceilings, "rows": rows},
        {"rows": [line for row in rows for line in _brief(row)]},
        figure.draw(rows),
        "A training step",
        versions,
    )


def measure(
    settings: Settings, model: str, ceilings: roofline.Ceilings, versions: dict[str, str]
) -> Iterator[Row]:
    """All batch sizes of a model; adds the versions of the workers' libraries to `versions`."""
    sessions = {
        variant.name: Session(variant.framework, variant.form, model)
        for variant in VARIANTS
        if (variant.peer is None or variant.peer in settings.peers)
        and (variant.models is None or model in variant.models)
    }
    with workers.resident(sessions) as processes:
        ready = race.greet(processes, versions)
        sizes = sorted(set(settings.batch_sizes))  # ascending, because a process' peak only grows
        proved_at = max((size for size in sizes if size <= _LONG_AT), default=sizes[0])
        for batch_size in sizes:
            steps = _LONG_PROOF if batch_size == proved_at else _SHORT_PROOF
            proofs = race.prove(ready, batch_size, steps)
            ready = {name: ready[name] for name in proofs}  # without those that failed
            unequal = {name: proof for name, proof in proofs.items() if not proof.equal}
            for name, proof in unequal.items():
                print(
                    f"not timed: {name}, {model}, batch {batch_size}: in {proof.steps} steps its "
                    f"losses differ by up to {proof.difference:.2g} nats a pixel, more than "
                    f"{TOLERANCE:.0e}"
                )
            equal = {name: worker for name, worker in ready.items() if name not in unequal}
            results = race.time_bursts(equal, proofs, settings.repeats)
            flops = count_flops(Workload(model), batch_size)
            floor = None if flops is None else flops / ceilings.flops_per_second
            yield Row(model, batch_size, flops, floor, results, unequal)


def _brief(row: Row) -> list[dict[str, Any]]:
    lines = []
    for name, result in row.results.items():
        line = {"model": row.model, "batch_size": row.batch_size, "variant": name}
        line |= {"seconds": result.wall.median, "ratio": result.ratio.value}
        lines.append(line | {"low": result.ratio.low, "high": result.ratio.high})
    return lines
