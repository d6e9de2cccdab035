"""The picture of the layout benchmark: times with quartiles, and ratios with their intervals."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.layouts.report import name, title
from benchmarks.layouts.rows import Row

_COLORS = {"NHWC": "#0072b2", "NCHW": "#e69f00"}  # Okabe and Ito's, told apart by everybody
_BAR = 0.38  # of the distance between two rows
_OF_2018 = 27 / 40  # the claim that this benchmark tests: 27 to 40 iterations a second


def draw(rows: Sequence[Row], device: Mapping[str, Any], sentence: str) -> bytes:
    """A PNG: times at the left, ratios at the right, one row for each combination and pass."""
    figure = Figure(figsize=(12, 2.2 + 0.45 * len(rows)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    times, ratios = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_times(times, rows)
    _draw_ratios(ratios, rows)
    times.set_yticks(range(len(rows)), [title(row) for row in rows])
    times.invert_yaxis()  # shared, so it turns both
    figure.suptitle(f"NHWC and NCHW on {name(device)}", fontsize=13)
    figure.supxlabel(sentence, fontsize=8.5, wrap=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_times(axes: Axes, rows: Sequence[Row]) -> None:
    for offset, (layout, color) in zip((-_BAR / 2, _BAR / 2), _COLORS.items(), strict=True):
        results = [row.layouts[layout] for row in rows]
        # Microseconds an image, so that small and large batches share one axis.
        units = [1e6 / row.combination.batch_size for row in rows]
        medians = [r.time.median * u for r, u in zip(results, units, strict=True)]
        below = [
            (r.time.median - r.time.lower_quartile) * u for r, u in zip(results, units, strict=True)
        ]
        above = [
            (r.time.upper_quartile - r.time.median) * u for r, u in zip(results, units, strict=True)
        ]
        places = [place + offset for place in range(len(rows))]
        axes.barh(places, medians, _BAR, color=color, label=f"{layout}, median and quartiles")
        axes.errorbar(medians, places, xerr=(below, above), fmt="none", ecolor="black", capsize=2)
        for place, result, unit in zip(places, results, units, strict=True):
            if result.floor_seconds is not None:
                floor = result.floor_seconds * unit
                axes.plot([floor] * 2, [place - _BAR / 2, place + _BAR / 2], color="#d00000")
    axes.plot([], [], color="#d00000", label="floor: arithmetic or memory, at the measured rates")
    axes.set_xlabel("time an image, microseconds (less is better)")
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8, frameon=False)


def _draw_ratios(axes: Axes, rows: Sequence[Row]) -> None:
    values = [row.ratio.value for row in rows]
    below = [row.ratio.value - row.ratio.low for row in rows]
    above = [row.ratio.high - row.ratio.value for row in rows]
    axes.axvline(1, color="black", linewidth=1)
    axes.axvline(_OF_2018, color="gray", linestyle=":", label="the claim of 2018 (GPU)")
    axes.errorbar(
        values,
        range(len(rows)),
        xerr=(below, above),
        fmt="o",
        color="#333333",
        capsize=3,
        label="ratio of medians, 95 % interval",
    )
    axes.set_xlabel("NCHW / NHWC (below 1: NCHW is faster)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8, frameon=False)
