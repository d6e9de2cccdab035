"""The charts of a run's history."""

from collections.abc import Mapping, Sequence
from typing import Any

from flaxae.report.page.chart import LINES, Chart, chart

History = Sequence[Mapping[str, Any]]
_TRAINING = ("train_loss", "validation_loss")


def run_charts(history: History) -> list[Chart]:
    """Loss in training and validation, and the learning rate."""
    loss = {name.replace("_", " "): _series(history, name) for name in _TRAINING}
    rate = {"learning rate": _series(history, "learning_rate")}
    found = [chart("Loss of training and validation", loss), chart("Learning rate", rate)]
    return [each for each in found if each is not None]


def compared_charts(histories: Mapping[str, History]) -> list[Chart]:
    """The validation losses of several runs in one chart; beyond eight, in several."""
    names = [*histories]
    found = []
    for first in range(0, len(names), LINES):
        part = names[first : first + LINES]
        series = {name: _series(histories[name], "validation_loss") for name in part}
        found.append(chart("Validation loss", series))
    return [each for each in found if each is not None]


def _series(history: History, name: str) -> list[tuple[float, float]]:
    return [(float(line["epoch"]), float(line[name])) for line in history if name in line]
