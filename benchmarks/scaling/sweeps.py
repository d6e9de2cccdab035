"""The conductor of the scaling benchmark: dataset by dataset, point by point, then the report."""

import datetime
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import device
from benchmarks.common.intervals import summarize
from benchmarks.common.workers import WorkerFailed, receive, resident
from benchmarks.layouts.comparison import plain, to_text
from benchmarks.scaling import figure as scaling_figure
from benchmarks.scaling import report as scaling_report
from benchmarks.scaling.dataset import dataset_bytes, on_disk, require_space
from benchmarks.scaling.point import Request
from benchmarks.scaling.rows import (
    FULL,
    QUANTITIES,
    SMOKE,
    Plan,
    Point,
    Row,
    Slope,
    points_of,
    rows_of,
    slope_of,
)
from flaxae.runs.workdir import write_atomically

if TYPE_CHECKING:
    from benchmarks.scaling.__main__ import Settings

Reply = dict[str, Any]


def run_sweeps(settings: "Settings") -> None:
    """Measures, shows and writes everything.

    Raises:
        NoSpace: the disk cannot hold the images.
        WorkerFailed: not a single point could be measured.
        OSError: a dataset or a result cannot be written.
    """
    plan = SMOKE if settings.smoke else FULL
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    chosen = points(plan, settings.sweeps)
    require_space(max(dataset_bytes(point.images, point.side) for point in chosen))
    scaling_report.show_start(plan, settings.sweeps, len(chosen))
    rows: dict[Point, Row] = {}
    failures: dict[Point, WorkerFailed] = {}
    described: dict[str, Any] = {}
    for point, reply in replies(chosen, plan, settings.repeats):
        if isinstance(reply, WorkerFailed):
            failures[point] = reply
            scaling_report.show_failure(point, reply)
        else:
            described = reply["device"]
            rows[point] = to_row(point, reply)
            scaling_report.show_progress(rows[point])
    if not rows:
        raise next(iter(failures.values()))
    sweeps = {sweep: rows_of(rows, plan, sweep) for sweep in settings.sweeps}
    slopes = slopes_of(sweeps)
    sentence = scaling_report.answer(slopes, described, settings.smoke)
    scaling_report.show(sweeps, slopes)
    print(f"\n{sentence}\n")
    report = {
        "benchmark": "scaling",
        "sentence": sentence,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": described,
        "software": device.describe_software(),
        "settings": {k: v for k, v in plain(vars(settings)).items() if k != "output_dir"},
        "plan": plain(plan),
        "rows": plain(list(rows.values())),
        "not_measured": [plain(point) | {"why": str(why)} for point, why in failures.items()],
        "slopes": plain(slopes),
    }
    name = f"scaling-{device.name_for_files(described['kind'])}"
    name += "-smoke" if settings.smoke else ""  # which overwrites no result
    results, picture = (settings.output_dir / f"{name}.{ending}" for ending in ("json", "png"))
    write_atomically(results, to_text(report).encode())
    write_atomically(picture, scaling_figure.draw(sweeps, slopes, described, sentence))
    print(f"results {results}\npicture {picture}")
    print(json.dumps(brief(report) | {"results": str(results), "picture": str(picture)}))


def points(plan: Plan, sweeps: Sequence[str]) -> list[Point]:
    """Each point of the sweeps once, those that share a dataset one after the other."""
    return sorted({point for sweep in sweeps for point in points_of(plan, sweep)})


def replies(
    chosen: Sequence[Point], plan: Plan, repeats: int
) -> Iterator[tuple[Point, Reply | WorkerFailed]]:
    """What a fresh process measures at each point; one dataset at a time is on disk."""
    for (images, side), same in itertools.groupby(chosen, lambda point: point[:2]):
        with on_disk(images, side) as folder:
            for point in same:
                try:
                    yield point, ask_worker(folder, point, plan, repeats)
                except WorkerFailed as error:  # where memory is short, the largest ones
                    yield point, error


def ask_worker(folder: Path, point: Point, plan: Plan, repeats: int) -> Reply:
    """Measures one point in a process that ends afterwards.

    Raises:
        WorkerFailed: it could not, or the system has ended it.
    """
    request = Request(str(folder), *point, repeats, plan.filters)
    command = ["-m", "benchmarks.scaling.point", json.dumps(request._asdict())]
    with resident({"process": command}) as workers:
        return receive(workers["process"])


def to_row(point: Point, reply: Reply) -> Row:
    """Medians of what a worker has sampled, and what follows from them."""
    samples, steps = reply["samples"], reply["steps_per_epoch"]
    medians = {key: summarize(values).median for key, values in samples.items()}
    # Derived, because an epoch of a million images would take minutes.
    epoch = {"epoch_seconds": medians["shuffle_seconds"] + steps * medians["step_seconds"]}
    values = medians | epoch | reply["memory"]
    return Row(point, steps, reply["micro_batch"], values, samples)


def slopes_of(sweeps: dict[str, list[Row]]) -> list[Slope]:
    """The slope of every quantity in every sweep where it is shown."""
    return [
        slope_of(rows, sweep, quantity)
        for sweep, rows in sweeps.items()
        for quantity in QUANTITIES
        if sweep in quantity.expected
    ]


def brief(report: dict[str, Any]) -> dict[str, Any]:
    """The last line for machines: the answer and every slope."""
    return {
        "benchmark": "scaling",
        "device": report["device"]["kind"],
        "sentence": report["sentence"],
        "slopes": report["slopes"],
    }
