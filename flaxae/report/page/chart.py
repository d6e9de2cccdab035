"""Line charts as shapes, which a template draws as SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 34
_TICKS = 5
_DASH = 8.0  # to either side of a single point
_LOG_FROM = 20.0  # largest value over the smallest, from which the axis is logarithmic
LINES = 8  # that the style sheet has


class Line(NamedTuple):
    """One line of a chart."""

    name: str
    points: str  # as SVG writes them
    style: str  # a class of the style sheet


class Tick(NamedTuple):
    """A mark of an axis."""

    at: float
    text: str


class Chart(NamedTuple):
    """Lines over the epochs, with what a screen reader says of them."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    summary: str
    is_log: bool
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    width: int = WIDTH
    height: int = HEIGHT


def chart(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Chart | None:
    """A chart of (epoch, value) by name; None if there is no value to draw."""
    series = {
        name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()
    }
    values = [y for points in series.values() for _, y in points]
    epochs = [x for points in series.values() for x, _ in points]
    if not values:
        return None
    low, high = min(values), max(values)
    is_log = low > 0 and high / low >= _LOG_FROM
    scaled = math.log10 if is_log else float
    y_ticks = _log_ticks(low, high) if is_log else _ticks(low, high)
    bottom, top = (scaled(v) for v in (min(low, y_ticks[0]), max(high, y_ticks[-1])))
    first, last = min(epochs), max(epochs)

    def x_at(epoch: int | float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y_at(value: float) -> float:
        share = (scaled(value) - bottom) / (top - bottom) if top > bottom else 0.5
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    lines = [
        Line(name, _path([(x_at(x), y_at(y)) for x, y in p]), f"line-{n % LINES}")
        for n, (name, p) in enumerate(series.items())
    ]
    whole = sorted({round(epoch) for epoch in _ticks(first, last) if first <= epoch <= last})
    return Chart(
        title,
        lines,
        [Tick(x_at(epoch), str(epoch)) for epoch in whole],
        [Tick(y_at(value), f"{value:.6g}") for value in y_ticks],
        "; ".join(_summary(name, points) for name, points in series.items() if points),
        is_log,
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Points as SVG writes them; a single one becomes a short line, which can be seen."""
    if len(points) == 1:
        ((x, y),) = points
        points = [(x - _DASH, y), (x + _DASH, y)]
    return " ".join(f"{x},{y}" for x, y in points)


def _summary(name: str, points: Sequence[tuple[float, float]]) -> str:
    best = min(points, key=lambda point: point[1])
    first, last = points[0], points[-1]
    return (
        f"{name} from {first[1]:.4g} in epoch {first[0]:g} to {last[1]:.4g} in epoch {last[0]:g}, "
        f"lowest {best[1]:.4g} in epoch {best[0]:g}"
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five, that cover the range."""
    span = high - low or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(unit * each for each in (1, 2, 5, 10) if span / (unit * each) <= _TICKS)
    return [step * n for n in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [float(f"1e{power}") for power in powers]
