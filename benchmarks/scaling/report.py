"""What a person reads of the scaling benchmark: a table for each sweep, and one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common.workers import WorkerFailed
from benchmarks.layouts.report import name
from benchmarks.scaling.rows import QUANTITIES, Plan, Point, Quantity, Row, Slope
from flaxae.commands.terminal import show_table

VARIED = {
    "images": "the number of images",
    "side": "the side of an image",
    "batch": "the batch size",
}


def show_start(plan: Plan, sweeps: Sequence[str], points: int) -> None:
    """What is varied, before the first measurement."""
    print(
        f"{points} points, each in a process of its own; varied: {', '.join(sweeps)}; "
        f"the others meanwhile: {title(plan.default)}",
        flush=True,
    )


def show_progress(row: Row) -> None:
    """One line with a point's outcome, as soon as it is there."""
    peak = row.values["peak_bytes"]
    assert peak is not None
    step = 1e3 * (row.values["step_seconds"] or 0)
    print(f"{title(row.point)}: step {step:.3g} ms, peak {peak / 2**20:,.0f} MiB", flush=True)


def show_failure(point: Point, error: WorkerFailed) -> None:
    """A point that is not measured, and why."""
    print(f"not measured: {title(point)}: {error}", flush=True)


def show(sweeps: Mapping[str, Sequence[Row]], slopes: Sequence[Slope]) -> None:
    """A table for each sweep: quantities down, what is varied across."""
    for sweep, rows in sweeps.items():
        found = {slope.quantity: slope for slope in slopes if slope.sweep == sweep}
        sizes = [f"{getattr(row.point, sweep):,}" for row in rows]
        show_table(
            f"\nAgainst {VARIED[sweep]}",
            ("", *sizes, "slope", "expected"),
            [
                (
                    f"{quantity.name}, {quantity.unit}",
                    *(_amount(row, quantity) for row in rows),
                    number(found[quantity.key].measured),
                    number(found[quantity.key].expected, 0),
                )
                for quantity in QUANTITIES
                if quantity.key in found
            ],
        )
    print(
        "\nslope: of the logarithms, by least squares over the three largest sizes; 1: in "
        "proportion; 0: not at all.\nepoch: shuffling and as many steps as it has, not run to its "
        "end; -: no single power, or not told"
    )


def answer(slopes: Sequence[Slope], device: Mapping[str, Any], smoke: bool) -> str:
    """The one sentence: how a step's time grows."""
    parts = [
        f"{VARIED[slope.sweep]} to the power {number(slope.measured)} "
        f"(expected {number(slope.expected, 0)})"
        for slope in slopes
        if slope.quantity == "step_seconds"
    ]
    warning = "; a smoke run is too short to believe this" if smoke else ""
    return f"On {name(device)}, the time of a training step grows with {', '.join(parts)}{warning}."


def title(point: Point) -> str:
    """A point's name."""
    return f"{point.images:,} images of {point.side} x {point.side}, batch {point.batch}"


def number(slope: float | None, digits: int = 2) -> str:
    """A measured slope as a person reads it; an expected one has no digits after the point."""
    return "-" if slope is None else f"{slope:.{digits}f}".replace("-0.00", "0.00")


def _amount(row: Row, quantity: Quantity) -> str:
    """A quantity in its unit, with three digits."""
    value = row.values.get(quantity.key)
    if value is None:
        return "-"
    value /= quantity.per_unit
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
