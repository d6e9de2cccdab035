"""The picture of the scaling benchmark: a column for each sweep, times above and memory below."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.layouts.report import name
from benchmarks.scaling.report import VARIED, number
from benchmarks.scaling.rows import MEMORY, TIMES, Quantity, Row, Slope, curve

# Okabe and Ito's, told apart by everybody; in the order of the quantities.
_COLORS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9")
_PANELS = ((TIMES, "seconds", 1.0), (MEMORY, "MiB", 2.0**20))


def draw(
    sweeps: Mapping[str, Sequence[Row]],
    slopes: Sequence[Slope],
    device: Mapping[str, Any],
    sentence: str,
) -> bytes:
    """A PNG: both axes logarithmic, so that a power is a straight line."""
    figure = Figure(figsize=(1.5 + 4.5 * len(sweeps), 10), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(_PANELS), len(sweeps), squeeze=False, sharex="col", sharey="row")
    for line, (quantities, unit, per_unit) in zip(panels, _PANELS, strict=True):
        for axes, (sweep, rows) in zip(line, sweeps.items(), strict=True):
            found = {slope.quantity: slope for slope in slopes if slope.sweep == sweep}
            for quantity, color in zip(quantities, _COLORS, strict=False):
                if quantity.key in found:
                    _draw_curve(axes, rows, quantity, found[quantity.key], per_unit, color)
            _label(axes)
        line[0].set_ylabel(unit)
    for axes, (sweep, rows) in zip(panels[-1], sweeps.items(), strict=True):
        sizes = [getattr(row.point, sweep) for row in rows]
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        axes.set_xlabel(VARIED[sweep])
    figure.suptitle(
        f"How time and memory grow on {name(device)}\n"
        "solid: measured, with its slope; dashed and in brackets: the expected slope",
        fontsize=12,
    )
    figure.supxlabel(sentence, fontsize=8.5, wrap=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_curve(
    axes: Axes, rows: Sequence[Row], quantity: Quantity, slope: Slope, per_unit: float, color: str
) -> None:
    points = curve(rows, slope.sweep, quantity)
    if not points:
        return
    sizes = [size for size, _ in points]
    label = f"{quantity.name}: {number(slope.measured)}"
    if slope.expected is not None:
        label += f" ({number(slope.expected, 0)})"
    heights = [value / per_unit for _, value in points]
    axes.plot(sizes, heights, color=color, marker="o", markersize=4, label=label)
    if slope.expected is not None:
        line = [heights[-1] * (size / sizes[-1]) ** slope.expected for size in sizes]
        axes.plot(sizes, line, color=color, linestyle="--", linewidth=1, alpha=0.6)


def _label(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    if axes.lines:
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "borderpad": 0}
        axes.legend(ncols=2, fontsize=7.5, **above)
