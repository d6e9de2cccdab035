"""Measures the points of the sweeps, one dataset after another."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.common.memory import MIB
from benchmarks.common.report import Finding
from benchmarks.common.tables import milliseconds
from benchmarks.common.workers import WorkerFailed, in_process
from benchmarks.scaling import Settings, dataset, report
from benchmarks.scaling.growth import FULL, SMOKE, Plan, Point, Row, slopes_of
from benchmarks.scaling.point import measure


def run_sweeps(settings: Settings) -> Finding:
    """Measures, and prints the tables; raises WorkerFailed if no point could be measured."""
    plan = SMOKE if settings.smoke else FULL
    chosen = plan.all_points(settings.sweeps)
    dataset.require_space(max(point.images * point.side**2 for point in chosen))
    varied = f"varied: {', '.join(settings.sweeps)}; default: {plan.default.title()}"
    print(f"{len(chosen)} points, a process each; {varied}", flush=True)
    device: dict[str, Any] = {}
    rows: dict[Point, Row] = {}
    failures: dict[Point, WorkerFailed] = {}
    for point, found in measurements(chosen, plan, settings.repeats):
        if isinstance(found, WorkerFailed):
            failures[point] = found
            print(f"not measured: {point.title()}: {found}", flush=True)
            continue
        device, rows[point] = found
        step, peak = (rows[point].values[key] or 0 for key in ("step_seconds", "peak_bytes"))
        amounts = f"step {milliseconds(step)} ms, peak {peak / MIB:,.0f} MiB"
        print(f"{point.title()}: {amounts}", flush=True)
    if not rows:
        raise next(iter(failures.values()))
    sweeps = {s: [rows[p] for p in plan.points(s) if p in rows] for s in settings.sweeps}
    slopes = slopes_of(sweeps)
    report.show(sweeps, slopes)
    not_measured = [point._asdict() | {"why": str(why)} for point, why in failures.items()]
    brief = {"slopes": slopes}
    content = {"plan": plan, "rows": list(rows.values()), "not_measured": not_measured, **brief}
    picture = (report.draw(sweeps, slopes), "Growth of time and memory")
    return Finding(device, report.answer(slopes), content, brief, *picture)


def measurements(
    chosen: Sequence[Point], plan: Plan, repeats: int
) -> Iterator[tuple[Point, tuple[dict[str, Any], Row] | WorkerFailed]]:
    """The measurements of each point, or why there are none; writes one dataset at a time."""
    for (images, side), same in itertools.groupby(chosen, lambda point: point[:2]):
        with dataset.on_disk(images, side) as file:
            for point in same:
                try:
                    yield point, in_process(measure, file, point, plan.filters, repeats)
                except WorkerFailed as error:  # the system may end it where memory is short
                    yield point, error
