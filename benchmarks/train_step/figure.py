"""The picture of the benchmark of the training step: a panel of bars for each model."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.common import figure as frame
from benchmarks.train_step.comparison import VARIANTS, Row

# The two forms of one framework have similar colors.
_COLORS = (frame.VERMILION, frame.ORANGE, frame.YELLOW, frame.BLUE, frame.SKY, frame.GREEN)
_COLOR_OF = dict(zip((v.name for v in VARIANTS), (*_COLORS, "#88d8b8"), strict=True))


def draw(rows: Sequence[Row]) -> Figure:
    """The time of an image by model, batch size and variant."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure, panels = frame.panels(len(models), 1, (12, 1.6 + 3.2 * len(models)))
    for axes, model in zip(panels[:, 0], models, strict=True):
        groups = []
        for row in (row for row in rows if row.model == model):
            bars = {name: frame.Bar(r.wall, row.floor_seconds) for name, r in row.results.items()}
            groups.append((str(row.batch_size), row.batch_size, bars))
        frame.draw_bars(axes, groups, _COLOR_OF)
        axes.set_title(model, loc="left", fontsize=10)
    frame.legend_above(panels[0, 0], columns=4, place="right")
    panels[-1, 0].set_xlabel("images in a step")
    return figure
