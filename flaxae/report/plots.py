"""Plots an embedding and its confusion matrix; with matplotlib.

It does not use pyplot, which keeps every figure in a global list.
"""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DPI = 120
_MOST_NUMBERED = 20  # classes; with more there is no room for names and counts
_MOST_LISTED = 60  # classes; with more the legend would lie over the plot


def draw_confusion(
    confusion: Int[np.ndarray, "classes classes"], class_names: Sequence[str]
) -> bytes:
    """A PNG of the confusion matrix [class][prediction] of counts."""
    count = len(class_names)
    inches = min(max(4.0, 0.55 * count + 1.5), 12.0)
    figure = Figure(figsize=(inches, inches), layout="constrained")
    axes = figure.add_subplot(xlabel="class predicted by kNN", ylabel="true class")
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= _MOST_NUMBERED:
        axes.set_xticks(range(count), class_names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(count), class_names, parse_math=False)
        for row, column in np.argwhere(confusion > 0):
            color = "white" if shares[row, column] > 0.5 else "black"
            count_text = str(confusion[row, column])
            axes.text(column, row, count_text, ha="center", va="center", color=color)
    return _png(figure)


def draw_embedding(
    plane: Float32[np.ndarray, "examples 2"],
    variance_ratio: Sequence[float],
    labels: Int[np.ndarray, " examples"] | None,
    class_names: Sequence[str],
) -> bytes:
    """A PNG of a scatter plot of the first two principal components, colored by class.

    `variance_ratio` holds each component's share of the variance, in 0..1. Up to 60 classes have
    their names beside the plot.
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot(
        xlabel=_axis_label(1, variance_ratio[0]), ylabel=_axis_label(2, variance_ratio[1])
    )
    size = float(np.clip(20_000 / len(plane), 2, 20))  # of a dot, in square points
    if labels is None:
        axes.scatter(*plane.T, s=size, linewidths=0)
    else:
        colors = _colors(len(class_names))
        # All classes in one call, in the order of the examples, so that no class covers another.
        axes.scatter(*plane.T, s=size, c=colors[labels], linewidths=0, alpha=0.7)
        if len(class_names) <= _MOST_LISTED:
            _add_legend(figure, axes, colors, class_names)
    return _png(figure)


def _add_legend(
    figure: Figure,
    axes: Axes,
    colors: Float32[np.ndarray, "classes 4"],
    class_names: Sequence[str],
) -> None:
    for label, color in enumerate(colors):
        axes.scatter([], [], color=color, label=str(label))
    columns = -(-len(class_names) // _MOST_NUMBERED)
    legend = figure.legend(loc="outside right upper", ncols=columns)
    for text, name in zip(legend.get_texts(), class_names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)  # not as the label, because labels that begin with "_" are left out


def _axis_label(number: int, share: float) -> str:
    return f"principal component {number} ({share:.0%} of the variance)"


def _colors(count: int) -> Float32[np.ndarray, "classes 4"]:
    """Returns an RGBA color in 0..1 for each of `count` classes."""
    if count <= _MOST_NUMBERED:
        palette = colormaps["tab10" if count <= 10 else "tab20"]
        return np.array([palette(index) for index in range(count)], np.float32)
    return np.asarray(colormaps["hsv"](np.linspace(0, 1, count, endpoint=False)), np.float32)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
