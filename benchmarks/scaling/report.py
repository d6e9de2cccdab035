"""The tables and the answer of the scaling benchmark."""

from collections.abc import Mapping, Sequence

from benchmarks.common.tables import show_table
from benchmarks.scaling.growth import QUANTITIES, Quantity, Row, Slope

_IMAGES, _SIDE, _BATCH = "the number of images", "the side of an image", "the batch size"
VARIED = {"images": _IMAGES, "side": _SIDE, "batch": _BATCH}


def show(sweeps: Mapping[str, Sequence[Row]], slopes: Sequence[Slope]) -> None:
    """Prints a table for each sweep: a line for each quantity, a column for each size."""
    for sweep, rows in sweeps.items():
        found = {slope.quantity: slope for slope in slopes if slope.sweep == sweep}
        sizes = [f"{getattr(row.point, sweep):,}" for row in rows]
        lines = [
            (
                f"{quantity.name}, {quantity.unit}",
                *(_amount(row, quantity) for row in rows),
                number(found[quantity.key].measured),
                number(found[quantity.key].expected, 0),
            )
            for quantity in QUANTITIES
            if quantity.key in found
        ]
        show_table(f"\nAgainst {VARIED[sweep]}", ("", *sizes, "slope", "expected"), lines)
    print(
        "\nslope: of the logarithms, by least squares over the three largest sizes; 1: in "
        "proportion; 0: constant.\nepoch: derived from the times of shuffling and of a step; "
        "-: no single power, or not reported"
    )


def answer(slopes: Sequence[Slope]) -> str:
    """How a step's time grows."""
    parts = []
    for slope in (each for each in slopes if each.quantity == "step_seconds"):
        power = f"{number(slope.measured)} (expected {number(slope.expected, 0)})"
        parts.append(f"{VARIED[slope.sweep]} to the power {power}")
    return f"the time of a training step grows with {', '.join(parts)}"


def number(slope: float | None, digits: int = 2) -> str:
    """A slope as text; "-" if there is none."""
    return "-" if slope is None else f"{slope:.{digits}f}".replace("-0.00", "0.00")


def _amount(row: Row, quantity: Quantity) -> str:
    """A quantity in its unit, with three digits."""
    value = row.values.get(quantity.key)
    if value is None:
        return "-"
    value /= quantity.per_unit
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
