"""The tables and the answer of the benchmark of the training step."""

from collections.abc import Sequence

from benchmarks.common import tables
from benchmarks.common.memory import MIB
from benchmarks.common.roofline import Ceilings
from benchmarks.common.tables import interval, milliseconds, quartiles, reported
from benchmarks.train_step.rows import SUBJECT, VARIANTS, Result, Row

_ANSWERED = 256  # images: the answer is about this batch size, or the nearest one


def show(rows: Sequence[Row], ceilings: Ceilings) -> None:
    """Prints all tables."""
    present = [v.name for v in VARIANTS if any(v.name in row.results for row in rows)]
    tables.show_table(
        "\nWall time of a step, ms (relative to flaxae fast)",
        ("model", "batch", *present),
        [(row.model, str(row.batch_size), *(_cell(row, name) for name in present)) for row in rows],
    )
    for row in rows:
        _show_row(row)
    print(
        "\nwall, CPU: medians (quartiles); ratio: of wall times to flaxae fast; faults: pages a "
        "step;\nMiB: the peak of the process so far; differs by: losses, from those of flaxae plain"
    )
    print(f"floor: a step's operations at {ceilings.text()}")


def _cell(row: Row, variant: str) -> str:
    if variant not in row.results:
        return "-"
    result = row.results[variant]
    ratio = "" if variant == SUBJECT else f" ({result.ratio.value:.2f})"
    return f"{milliseconds(result.wall.median)}{ratio}"


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

    def cells(name: str, result: Result) -> list[str]:
        return [name, *(text(result) for text in columns.values())]

    lines = [cells(*item) for item in row.results.items()]
    for name, proof in row.unequal.items():
        lines.append([name, "not timed", *[""] * 5, f"{proof.difference:.0e}"])
    title = f"\n{row.title()}: floor {reported(floor, milliseconds)} ms"
    tables.show_table(title, ("", *columns), lines)


def answer(rows: Sequence[Row]) -> str:
    """How the first model's step compares."""
    own = [row for row in rows if row.model == rows[0].model]
    row = min(own, key=lambda each: abs(each.batch_size - _ANSWERED))
    peers = [(name, result) for name, result in row.results.items() if name != SUBJECT]
    return (
        f"a training step of the {row.model} model with {row.batch_size} images takes flaxae "
        f"{milliseconds(row.results[SUBJECT].wall.median)} ms; time relative to flaxae (higher is "
        f"slower): {', '.join(f'{name} {interval(result.ratio)}' for name, result in peers)}"
    )
