"""The tables of the layout benchmark."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from benchmarks.common import tables
from benchmarks.common.memory import MIB
from benchmarks.common.roofline import Ceilings
from benchmarks.common.tables import milliseconds, quartiles, reported
from benchmarks.layouts.rows import LayoutResult, Row


def show(rows: Sequence[Row], ceilings: Mapping[str, Ceilings], peak: int | None) -> None:
    """Prints all tables; `peak` is in bytes."""
    times = {
        "": Row.title,
        "NHWC, ms": lambda row: quartiles(row.layouts["NHWC"].time),
        "NCHW, ms": lambda row: quartiles(row.layouts["NCHW"].time),
        "NCHW/NHWC (95 %)": lambda row: tables.interval(row.ratio, 3),
    }
    tables.show("Time of one call: median (quartiles)", times, rows)
    limits = {
        "": Row.title,
        "floor, ms": _both(lambda r: reported(r.floor_seconds, milliseconds)),
        "time / floor": _both(
            lambda r: reported(r.floor_seconds, lambda seconds: f"{r.time.median / seconds:.1f}")
        ),
        "compilation, s": _both(lambda r: f"{r.compile_seconds:.1f}"),
        "memory, MiB": _both(lambda r: reported(r.memory_bytes, lambda b: f"{b / MIB:.1f}")),
        "differ by": lambda row: f"{max(row.proof[:3]):.0e}",
    }
    tables.show("The device's limit and other costs (NHWC / NCHW)", limits, rows)
    for dtype, best in ceilings.items():
        memory = f"{best.bytes_per_second / 1e9:,.0f} GB/s through memory"
        print(f"limits for {dtype}: {best.text()}; {memory}")
    print(f"peak device memory of the whole run: {reported(peak, lambda b: f'{b / MIB:,.0f} MiB')}")
    tables.show_table(
        "\nConvolutions as compiled: input x filter -> output, from major to minor in memory",
        ("", "order", "run by", "NHWC", "NCHW"),
        [line for row in rows for line in _convolutions(row)],
    )
    print("\nWhy")
    for row in rows:
        print(f"{row.title()}: {row.explanation}")


def _both(text: Callable[[LayoutResult], str]) -> Callable[[Row], str]:
    """The texts of both layouts, or one if they are equal."""
    return lambda row: " / ".join(dict.fromkeys(map(text, row.layouts.values())))


def _convolutions(row: Row) -> list[tuple[str, ...]]:
    counts = [
        Counter((f"{c.input} x {c.filter} -> {c.output}", c.executor) for c in result.convolutions)
        for result in row.layouts.values()
    ]
    kinds = sorted(set().union(*counts))
    titles = [row.title(), *[""] * len(kinds)]
    return [
        (title, *kind, *(str(count[kind]) for count in counts))
        for title, kind in zip(titles, kinds, strict=False)
    ]
