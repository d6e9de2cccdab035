"""Plots of an embedding's quality: the only module that imports matplotlib.

Through its objects and not pyplot, which keeps figures in a global list.
"""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DPI = 120
_MOST_NUMBERED = 20  # classes; more of them leave no room for names and numbers


def draw_confusion(
    confusion: Int[np.ndarray, "classes classes"], class_names: Sequence[str]
) -> bytes:
    """A PNG of a matrix of counts, a row for each class and a column for each answer."""
    count = len(class_names)
    inches = min(max(4.0, 0.55 * count + 1.5), 12.0)
    figure = Figure(figsize=(inches, inches), layout="constrained")
    axes = figure.add_subplot(xlabel="kNN's answer", ylabel="class")
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
    """A PNG of points on the plane of the first two principal components, colored by class."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot(
        xlabel=_axis_label(1, variance_ratio[0]), ylabel=_axis_label(2, variance_ratio[1])
    )
    size = float(np.clip(20_000 / len(plane), 2, 20))  # of a dot, in square points
    if labels is None:
        axes.scatter(*plane.T, s=size, linewidths=0)
    else:
        colors = _colors(len(class_names))
        # In the order of the examples, so that no class covers the others.
        axes.scatter(*plane.T, s=size, c=colors[labels], linewidths=0, alpha=0.7)
        for label, color in enumerate(colors):
            axes.scatter([], [], color=color, label=str(label))
        columns = -(-len(class_names) // _MOST_NUMBERED)
        legend = figure.legend(loc="outside right upper", ncols=columns)
        for text, name in zip(legend.get_texts(), class_names, strict=True):
            text.set_parse_math(False)
            text.set_text(name)  # only now, because a label that begins with "_" is left out
    return _png(figure)


def _axis_label(number: int, share: float) -> str:
    return f"principal component {number} ({share:.0%} of the variance)"


def _colors(count: int) -> Float32[np.ndarray, "classes 4"]:
    """A color for each class: as distinct as that many can be."""
    if count <= _MOST_NUMBERED:
        palette = colormaps["tab10" if count <= 10 else "tab20"]
        return np.array([palette(index) for index in range(count)], np.float32)
    return np.asarray(colormaps["hsv"](np.linspace(0, 1, count, endpoint=False)), np.float32)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
