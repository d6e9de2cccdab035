"""The frame of every picture: panels, groups of bars, a legend, a title and the answer."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.intervals import Summary

# Okabe and Ito's colors, which color-blind people can tell apart.
BLACK, VERMILION, BLUE, GREEN = "#000000", "#d55e00", "#0072b2", "#009e73"
ORANGE, SKY, YELLOW = "#e69f00", "#56b4e9", "#f0e442"
_GROUP = 0.8  # of the distance between two groups
Bar = tuple[Summary, float | None]  # the time of a variant in seconds, and its floor, if known


def panels(
    rows: int, columns: int, inches: tuple[float, float], **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [rows, columns]; `options` go to matplotlib's `subplots`."""
    figure = Figure(figsize=inches, dpi=110, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def draw_bars(
    axes: Axes, groups: Sequence[tuple[str, int, Mapping[str, Bar]]], colors: Mapping[str, str]
) -> None:
    """A group of bars (medians per image, quartiles, floors) by title and number of images."""
    present = [variant for variant in colors if any(variant in bars for _, _, bars in groups)]
    width, floors = _GROUP / len(present), []
    for index, variant in enumerate(present):
        own = [
            (place - _GROUP / 2 + index * width, 1e6 / images, *bars[variant])
            for place, (_, images, bars) in enumerate(groups)
            if variant in bars
        ]
        starts, scales, times, _ = zip(*own, strict=True)
        middle, low, high = np.transpose([time[:3] for time in times]) * scales
        style = {"color": colors[variant], "capsize": 2, "align": "edge", "label": variant}
        axes.barh(starts, middle, width, xerr=(middle - low, high - middle), **style)
        floors += [(scale * floor, at) for at, scale, _, floor in own if floor is not None]
    if floors:
        values, starts = np.transpose(floors)
        axes.vlines(values, starts, starts + width, "#d00000", label="floor")
    axes.set_yticks(range(len(groups)), [title for title, _, _ in groups])
    axes.invert_yaxis()  # from top to bottom
    axes.set(xlabel="microseconds per image (lower is better)", xlim=(0, None))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def legend_above(axes: Axes, columns: int, place: str = "center") -> None:
    """A legend over the axes: at their "left", "center" or "right"."""
    x = {"left": 0, "center": 0.5, "right": 1}[place]
    anchor = {"loc": f"lower {place}", "bbox_to_anchor": (x, 1)}
    axes.legend(ncols=columns, fontsize=8, frameon=False, borderpad=0, **anchor)


def to_png(figure: Figure, title: str, answer: str) -> bytes:
    """The bytes of a PNG with the title above the panels and the answer below."""
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(answer, fontsize=8.5, wrap=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
