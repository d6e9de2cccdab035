"""The table, the answer and the picture of the times to quality."""

import math
import statistics
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

import flaxae
from benchmarks.common import device
from benchmarks.common import figure as frame
from benchmarks.common.report import Finding
from benchmarks.time_to_quality import FORMS, Settings
from benchmarks.time_to_quality.race import Result, cost, race
from flaxae.data.sources import open_source

LEVELS = (0.13, 0.11, 0.10, 0.09, 0.08)  # nats a pixel
_ANSWERED = 0.10  # the level that the answer is about
_UNITS = ("images", "s", "s, with compilation")  # of what `cost` returns
_COLORS = (frame.VERMILION, frame.ORANGE, frame.BLUE, frame.SKY, frame.GREEN, frame.YELLOW)


def compare_times(settings: Settings) -> Finding:
    """Trains, and prints the table; raises as `race`."""
    described = device.describe_device()
    print(f"{device.line(described)}; forms: {', '.join(settings.forms)}", flush=True)
    splits = open_source(flaxae.DataConfig()).splits()
    results: dict[str, list[Result]] = {form: [] for form in settings.forms}
    for seed in settings.seeds:
        for result in race(settings.forms, seed, settings.epochs, splits):
            results[result.form].append(result)
            reached = f"{result.losses[-1]:.4f} after {result.seconds[-1]:.1f} s"
            print(f"seed {seed}, {FORMS[result.form][0]}: {reached}", flush=True)
    lines = table(results)
    print("", *lines, sep="\n")
    content, brief = {"results": results}, {"table": lines}
    picture = (draw(results), "Validation loss over seconds of training")
    return Finding(described, answer(results), brief | content, brief, *picture)


def table(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """Lines of Markdown: three for each form, a column for each level; "-" is never."""
    names = " | ".join(f"{level:.2f}" for level in LEVELS)
    lines = [f"| validation loss | | {names} |", "|---" * (2 + len(LEVELS)) + "|"]
    for form, same in results.items():
        for index, unit in enumerate(_UNITS):
            columns = ([cost(each, level)[index] for each in same] for level in LEVELS)
            lines.append(f"| {FORMS[form][0]} | {unit} | {' | '.join(map(spread, columns))} |")
    return lines


def spread(values: Sequence[float]) -> str:
    """The median, and the range if there is one."""
    middle, low, high = map(number, (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def number(value: float) -> str:
    """At most three digits below 100, a whole number from there on; "-" is never."""
    return "-" if value == math.inf else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def answer(results: Mapping[str, Sequence[Result]]) -> str:
    """What each form needs to the level in the middle."""
    needs = []
    for form, same in results.items():
        columns = zip(*(cost(each, _ANSWERED) for each in same), strict=True)
        needs.append(f"{FORMS[form][0]} {', '.join(map(spread, columns))}")
    head = f"a validation loss of {_ANSWERED:.2f} nats a pixel takes, in {'; '.join(_UNITS)}"
    return f"{head}: {'; '.join(needs)}"


def draw(results: Mapping[str, Sequence[Result]]) -> Figure:
    """A line for each training; those of one form have one color."""
    figure, panels = frame.panels(1, 1, (10, 6))
    axes = panels[0, 0]
    for form, color in zip(FORMS, (*_COLORS, frame.BLACK), strict=True):
        for index, result in enumerate(results.get(form, ())):
            label = "_" if index else FORMS[form][0].replace("`", "")
            axes.plot(result.seconds, result.losses, color=color, linewidth=1.2, label=label)
    axes.set(xscale="log", yscale="log", ylabel="validation loss, nats a pixel")
    axes.set_xlabel("seconds of training, without compilation")
    ticks = [*LEVELS, 0.2, 0.3, 0.5, 0.7]
    axes.set_yticks(ticks, [f"{tick:.2f}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    frame.legend_above(axes, columns=3, place="right")
    return figure
