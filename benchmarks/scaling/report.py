"""The tables, the answer and the picture of the scaling benchmark."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common import figure as frame
from benchmarks.common.memory import MIB
from benchmarks.common.tables import show_table
from benchmarks.scaling.growth import MEMORY, QUANTITIES, TIMES, Quantity, Row, Slope, curve

_IMAGES, _SIDE, _BATCH = "the number of images", "the side of an image", "the batch size"
VARIED = {"images": _IMAGES, "side": _SIDE, "batch": _BATCH}
# In the order of the quantities.
_COLORS = (frame.BLACK, frame.VERMILION, frame.BLUE, frame.GREEN, frame.ORANGE, frame.SKY)
_PANELS = ((TIMES, "seconds", 1.0), (MEMORY, "MiB", MIB))


def show(sweeps: Mapping[str, Sequence[Row]], slopes: Sequence[Slope]) -> None:
    """Prints a table for each sweep: a line for each quantity, a column for each size."""
    for sweep, rows in sweeps.items():
        found = {slope.quantity: slope for slope in slopes if slope.sweep == sweep}
        sizes = [f"{getattr(row.point, sweep):,}" for row in rows]
        lines = []
        for quantity in QUANTITIES:
            if slope := found.get(quantity.key):
                amounts = [_amount(row, quantity) for row in rows]
                powers = (number(slope.measured), number(slope.expected, 0))
                lines.append((f"{quantity.name}, {quantity.unit}", *amounts, *powers))
        show_table(f"\nAgainst {VARIED[sweep]}", ("", *sizes, "slope", "expected"), lines)
    print(
        "\nslope: of the logarithms, by least squares over the three largest sizes; 1: in "
        "proportion; 0: constant.\nepoch: derived from the times of shuffling and of a step; "
        "-: no single power, or not reported"
    )


def answer(slopes: Sequence[Slope]) -> str:
    """How a step's time grows."""
    parts = (
        f"{VARIED[slope.sweep]} to the power {number(slope.measured)} "
        f"(expected {number(slope.expected, 0)})"
        for slope in slopes
        if slope.quantity == "step_seconds"
    )
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


def draw(sweeps: Mapping[str, Sequence[Row]], slopes: Sequence[Slope]) -> Figure:
    """Both axes are logarithmic, so that a power is a straight line."""
    size = (1.5 + 4.5 * len(sweeps), 10)
    figure, panels = frame.panels(len(_PANELS), len(sweeps), size, sharex="col", sharey="row")
    for line, (quantities, unit, per_unit) in zip(panels, _PANELS, strict=True):
        for axes, (sweep, rows) in zip(line, sweeps.items(), strict=True):
            found = {slope.quantity: slope for slope in slopes if slope.sweep == sweep}
            for quantity, color in zip(quantities, _COLORS, strict=False):
                if quantity.key in found:
                    draw_curve(axes, rows, quantity, found[quantity.key], per_unit, color)
            axes.set(xscale="log", yscale="log", ylabel=unit)
            axes.set_xlabel(VARIED[sweep] + "\nsolid: measured (slope); dashed: (expected slope)")
            sizes = [getattr(row.point, sweep) for row in rows]
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
            axes.minorticks_off()
            axes.label_outer()
            axes.grid(alpha=0.3)
            if axes.lines:
                frame.legend_above(axes, columns=2, place="left")
    return figure


def draw_curve(
    axes: Axes, rows: Sequence[Row], quantity: Quantity, slope: Slope, per_unit: float, color: str
) -> None:
    """A quantity, and through its last point a dashed line of the expected slope."""
    points = np.array(curve(rows, slope.sweep, quantity))
    if not len(points):
        return
    sizes, heights = points.T / [[1], [per_unit]]
    expected = "" if slope.expected is None else f" ({number(slope.expected, 0)})"
    label = f"{quantity.name}: {number(slope.measured)}{expected}"
    axes.plot(sizes, heights, color=color, marker="o", markersize=4, label=label)
    if slope.expected is not None:
        line = heights[-1] * (sizes / sizes[-1]) ** slope.expected
        axes.plot(sizes, line, color=color, linestyle="--", linewidth=1, alpha=0.6)
