"""The picture of the training step's benchmark: bars with quartiles, a panel for each model."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.layouts.report import name
from benchmarks.train_step.rows import VARIANTS, Row

# Okabe and Ito's, told apart by everybody; the two forms of one framework are neighbors.
_COLORS = ("#d55e00", "#e69f00", "#f0e442", "#0072b2", "#56b4e9", "#009e73", "#88d8b8")
_GROUP = 0.84  # of the distance between two batch sizes


def draw(rows: Sequence[Row], device: Mapping[str, Any], sentence: str) -> bytes:
    """A PNG: time an image by batch size, less is better."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(12, 1.6 + 3.2 * len(models)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(models), squeeze=False)[:, 0]
    for axes, model in zip(panels, models, strict=True):
        _draw_model(axes, [row for row in rows if row.model == model])
        axes.set_title(model, loc="left", fontsize=10)
    above = {"loc": "lower right", "bbox_to_anchor": (1, 1), "frameon": False}
    panels[0].legend(ncols=4, fontsize=8, **above)
    panels[-1].set_xlabel("images in a step")
    figure.suptitle(f"A training step on {name(device)}", fontsize=13)
    figure.supxlabel(sentence, fontsize=8.5, wrap=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_model(axes: Axes, rows: Sequence[Row]) -> None:
    present = [v.name for v in VARIANTS if any(v.name in row.results for row in rows)]
    colors = dict(zip((v.name for v in VARIANTS), _COLORS, strict=True))
    width = _GROUP / len(present)
    for index, variant in enumerate(present):
        # Microseconds an image, so that small and large batches share one axis.
        bars = [
            (place, 1e6 / row.batch_size, row.results[variant].wall)
            for place, row in enumerate(rows)
            if variant in row.results
        ]
        axes.bar(
            [place + (index + 0.5) * width - _GROUP / 2 for place, _, _ in bars],
            [unit * wall.median for _, unit, wall in bars],
            width,
            yerr=(
                [unit * (wall.median - wall.lower_quartile) for _, unit, wall in bars],
                [unit * (wall.upper_quartile - wall.median) for _, unit, wall in bars],
            ),
            color=colors[variant],
            capsize=2,
            label=variant,
        )
    for place, row in enumerate(rows):
        if row.floor_seconds is not None:
            height = 1e6 * row.floor_seconds / row.batch_size
            label = "floor: arithmetic at the rate of a matrix product" if place == 0 else None
            ends = [place - _GROUP / 2, place + _GROUP / 2]
            axes.plot(ends, [height] * 2, color="black", linestyle=":", label=label)
    axes.set_xticks(range(len(rows)), [str(row.batch_size) for row in rows])
    axes.set_ylabel("microseconds an image")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
