"""What a person reads of the training step's benchmark: tables, and one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common.intervals import Summary
from benchmarks.common.roofline import Ceilings
from benchmarks.layouts.report import name
from benchmarks.train_step.rows import SUBJECT, TOLERANCE, VARIANTS, Proof, Result, Row
from flaxae.commands.terminal import show_table

_MIB = 2**20
_TOLD = 256  # images: the batch size that the sentence speaks of, where it was measured


def show_start(device: Mapping[str, Any], peers: Sequence[str]) -> None:
    """The device and what is compared, before the first measurement."""
    print(
        f"{device['kind']} ({device['runtime']}, driver {device['driver']}), {device['cores']} "
        f"cores of {device['processor']}; peers: {', '.join(peers) or 'none'}",
        flush=True,
    )


def show_progress(row: Row) -> None:
    """One line with a row's outcome, as soon as it is there."""
    times = (f"{each} {_ms(r.wall.median)}" for each, r in row.results.items())
    print(f"{title(row)}, ms: {', '.join(times)}", flush=True)


def show_unequal(variant: str, model: str, batch_size: int, proof: Proof) -> None:
    """A variant that is not timed, and why."""
    print(
        f"not timed: {variant}, {model}, batch {batch_size}: in {proof.steps} steps from the same "
        f"weights its losses differ by up to {proof.difference:.2g} nats a pixel, more than "
        f"{TOLERANCE:.0e}",
        flush=True,
    )


def show(rows: Sequence[Row], ceilings: Ceilings) -> None:
    """Both tables."""
    names = [v.name for v in VARIANTS if any(v.name in row.results for row in rows)]
    show_table(
        "\nWall time of a step, ms (times flaxae fast)",
        ("model", "batch", *names),
        [
            (
                row.model,
                str(row.batch_size),
                *(_cell(row.results.get(each), each) for each in names),
            )
            for row in rows
        ],
    )
    columns = ("wall, ms", "CPU, ms", "ratio (95 %)", "x floor", "faults", "MiB", "differs by")
    for row in rows:
        floor = "no floor" if row.floor_seconds is None else f"floor {_ms(row.floor_seconds)} ms"
        show_table(f"\n{title(row)}: {floor}", ("", *columns), _lines(row))
    print(
        "\nwall, CPU: medians (quartiles); ratio: of wall times to flaxae fast; faults: pages a "
        "step;\nMiB: the process' peak so far; differs by: losses, from those of flaxae plain"
    )
    print(
        f"floor: a step's operations at {ceilings.flops_per_second / 1e9:,.0f} GFLOP/s, the rate "
        f"of a product of {ceilings.matrix_rows} x {ceilings.matrix_rows} matrices on all cores"
    )


def answer(rows: Sequence[Row], device: Mapping[str, Any], smoke: bool) -> str:
    """The one sentence: how the first model's step compares."""
    model = rows[0].model
    row = min((r for r in rows if r.model == model), key=lambda r: abs(r.batch_size - _TOLD))
    own = row.results[SUBJECT]
    others = [
        f"{each} {result.ratio.value:.2f} ({result.ratio.low:.2f} to {result.ratio.high:.2f})"
        for each, result in row.results.items()
        if each != SUBJECT
    ]
    warning = "; a smoke run is too short to believe this" if smoke else ""
    return (
        f"On {name(device)}, a training step of the {model} model with {row.batch_size} images "
        f"takes flaxae {_ms(own.wall.median)} ms; times as long take {', '.join(others)}"
        f"{warning}."
    )


def title(row: Row) -> str:
    """A row's name."""
    return f"{row.model}, batch {row.batch_size}"


def _cell(result: Result | None, variant: str) -> str:
    if result is None:
        return "-"
    ratio = "" if variant == SUBJECT else f" ({result.ratio.value:.2f})"
    return f"{_ms(result.wall.median)}{ratio}"


def _lines(row: Row) -> list[tuple[str, ...]]:
    floor = row.floor_seconds
    lines = []
    for variant, result in row.results.items():
        ratio = f"{result.ratio.value:.2f} ({result.ratio.low:.2f} to {result.ratio.high:.2f})"
        lines.append(
            (
                variant,
                _spread(result.wall),
                _spread(result.cpu),
                ratio,
                "-" if floor is None else f"{result.wall.median / floor:.1f}",
                f"{result.faults:,.0f}",
                f"{result.peak_bytes / _MIB:,.0f}",
                f"{result.proof.difference:.0e}",
            )
        )
    for variant, proof in row.unequal.items():
        lines.append((variant, "not timed", "", "", "", "", "", f"{proof.difference:.0e}"))
    return lines


def _spread(times: Summary) -> str:
    return f"{_ms(times.median)} ({_ms(times.lower_quartile)} to {_ms(times.upper_quartile)})"


def _ms(seconds: float) -> str:
    """Milliseconds with three digits."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
