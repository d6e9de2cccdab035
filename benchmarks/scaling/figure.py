"""The picture of the scaling benchmark: a column for each sweep, times above and memory below."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common import figure as frame
from benchmarks.common.memory import MIB
from benchmarks.scaling.growth import MEMORY, TIMES, Quantity, Row, Slope, curve
from benchmarks.scaling.report import VARIED, number

# In the order of the quantities.
_COLORS = (frame.BLACK, frame.VERMILION, frame.BLUE, frame.GREEN, frame.ORANGE, frame.SKY)
_PANELS = ((TIMES, "seconds", 1.0), (MEMORY, "MiB", MIB))


def draw(sweeps: Mapping[str, Sequence[Row]], slopes: Sequence[Slope]) -> Figure:
    """Both axes are logarithmic, so that a power is a straight line."""
    size = (1.5 + 4.5 * len(sweeps), 10)
    figure, panels = frame.panels(len(_PANELS), len(sweeps), size, sharex="col", sharey="row")
    for line, (quantities, unit, per_unit) in zip(panels, _PANELS, strict=True):
        line[0].set_ylabel(unit)
        for axes, (sweep, rows) in zip(line, sweeps.items(), strict=True):
            found = {slope.quantity: slope for slope in slopes if slope.sweep == sweep}
            for quantity, color in zip(quantities, _COLORS, strict=False):
                if quantity.key in found:
                    draw_curve(axes, rows, quantity, found[quantity.key], per_unit, color)
            axes.set(xscale="log", yscale="log")
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            if axes.lines:
                frame.legend_above(axes, columns=2, place="left")
    for axes, (sweep, rows) in zip(panels[-1], sweeps.items(), strict=True):
        sizes = [getattr(row.point, sweep) for row in rows]
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        axes.set_xlabel(VARIED[sweep] + "\nsolid: measured (slope); dashed: (expected slope)")
    return figure


def draw_curve(
    axes: Axes, rows: Sequence[Row], quantity: Quantity, slope: Slope, per_unit: float, color: str
) -> None:
    """A quantity, and through its last point a dashed line of the expected slope."""
    points = curve(rows, slope.sweep, quantity)
    if not points:
        return
    sizes = [size for size, _ in points]
    heights = [value / per_unit for _, value in points]
    expected = "" if slope.expected is None else f" ({number(slope.expected, 0)})"
    label = f"{quantity.name}: {number(slope.measured)}{expected}"
    axes.plot(sizes, heights, color=color, marker="o", markersize=4, label=label)
    if slope.expected is not None:
        line = [heights[-1] * (size / sizes[-1]) ** slope.expected for size in sizes]
        axes.plot(sizes, line, color=color, linestyle="--", linewidth=1, alpha=0.6)
