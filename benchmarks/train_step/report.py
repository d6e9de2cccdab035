"""The tables, the answer and the picture of the benchmark of the training step."""

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from benchmarks.common import device, tables
from benchmarks.common import figure as frame
from benchmarks.common.memory import MIB
from benchmarks.common.report import Finding
from benchmarks.common.roofline import Ceilings, measure_ceilings
from benchmarks.common.tables import interval, milliseconds, quartiles, reported
from benchmarks.train_step import Settings
from benchmarks.train_step.comparison import SUBJECT, TOLERANCE, VARIANTS, Row, measure

_ANSWERED = 256  # images: the answer is about this batch size, or the nearest one
# The two forms of one framework have similar colors.
_COLORS = (frame.VERMILION, frame.ORANGE, frame.YELLOW, frame.BLUE, frame.SKY, frame.GREEN)
_COLOR_OF = dict(zip((v.name for v in VARIANTS), (*_COLORS, "#88d8b8", frame.BLACK), strict=True))


def compare_steps(settings: Settings) -> Finding:
    """Measures, and prints the tables; raises as `comparison.measure`."""
    described = device.describe_device()
    print(f"{device.line(described)}; peers: {', '.join(settings.peers) or 'none'}", flush=True)
    ceilings = measure_ceilings("float32", smoke=settings.smoke)
    rows: list[Row] = []
    for model in settings.models:
        for row in measure(settings, model, ceilings.flops_per_second):
            rows.append(row)
            for name, proof in row.unequal.items():
                difference = f"{proof.difference:.2g} nats a pixel, more than {TOLERANCE:.0e}"
                print(f"not timed: {name}, {row.title()}: its losses differ by up to {difference}")
            times = (f"{name} {milliseconds(r.wall.median)}" for name, r in row.results.items())
            print(f"{row.title()}, ms: {', '.join(times)}", flush=True)
    show(rows, ceilings)
    keys = ("model", "batch_size", "variant", "seconds", "ratio", "low", "high")
    flat = [(*row[:2], n, r.wall.median, *r.ratio) for row in rows for n, r in row.results.items()]
    lines = [dict(zip(keys, values, strict=False)) for values in flat]
    content, picture = {"ceilings": ceilings, "rows": rows}, (draw(rows), "A training step")
    return Finding(described, answer(rows), content, {"rows": lines}, *picture)


def show(rows: Sequence[Row], ceilings: Ceilings) -> None:
    """Prints all tables."""

    def cell(variant: str, row: Row) -> str:
        if variant not in row.results:
            return "-"
        result = row.results[variant]
        ratio = "" if variant == SUBJECT else f" ({result.ratio.value:.2f})"
        return f"{milliseconds(result.wall.median)}{ratio}"

    present = [v.name for v in VARIANTS if any(v.name in row.results for row in rows)]
    columns = {"model": lambda row: row.model, "batch": lambda row: str(row.batch_size)}
    columns |= {name: partial(cell, name) for name in present}
    tables.show("Wall time of a step, ms (relative to flaxae fast)", columns, rows)
    for row in rows:
        _show_row(row)
    print(
        "\nwall, CPU: medians (quartiles); ratio: of wall times to flaxae fast; faults: pages a "
        "step;\nMiB: the peak of the process so far; differs by: losses, from those of flaxae plain"
        f"\nfloor: a step's operations at {ceilings.text()}"
    )


def _show_row(row: Row) -> None:
    floor = row.floor_seconds
    columns = {
        "wall, ms": lambda r: quartiles(r.wall),
        "CPU, ms": lambda r: quartiles(r.cpu),
        "ratio (95 %)": lambda r: interval(r.ratio),
        "/ floor": lambda r: "-" if floor is None else f"{r.wall.median / floor:.1f}",
        "faults": lambda r: f"{r.faults:,.0f}",
        "MiB": lambda r: f"{r.peak_bytes / MIB:,.0f}",
        "differs by": lambda r: f"{r.proof.difference:.0e}",
    }
    lines = [[name, *(text(r) for text in columns.values())] for name, r in row.results.items()]
    for name, proof in row.unequal.items():
        lines.append([name, "not timed", *[""] * 5, f"{proof.difference:.0e}"])
    title = f"\n{row.title()}: floor, ms: {reported(floor, milliseconds)}"
    tables.show_table(title, ("", *columns), lines)


def answer(rows: Sequence[Row]) -> str:
    """How the first model's step compares."""
    own = [row for row in rows if row.model == rows[0].model]
    row = min(own, key=lambda each: abs(each.batch_size - _ANSWERED))
    ratios = [f"{n} {interval(r.ratio)}" for n, r in row.results.items() if n != SUBJECT]
    return (
        f"a training step of the {row.model} model with {row.batch_size} images takes flaxae "
        f"{milliseconds(row.results[SUBJECT].wall.median)} ms; time relative to flaxae (higher is "
        f"slower): {', '.join(ratios)}"
    )


def draw(rows: Sequence[Row]) -> Figure:
    """The time of an image by model, batch size and variant."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure, panels = frame.panels(len(models), 1, (12, 1.6 + 3.2 * len(models)))
    for axes, model in zip(panels[:, 0], models, strict=True):
        groups = []
        for row in (row for row in rows if row.model == model):
            bars = {name: (r.wall, row.floor_seconds) for name, r in row.results.items()}
            groups.append((f"batch {row.batch_size}", row.batch_size, bars))
        frame.draw_bars(axes, groups, _COLOR_OF)
        axes.set_title(model, loc="left", fontsize=10)
    frame.legend_above(panels[0, 0], columns=4, place="right")
    return figure
