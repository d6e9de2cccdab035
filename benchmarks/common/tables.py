"""Numbers as people read them in a table, and the table itself."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.common.intervals import Interval, Summary
from flaxae.report.terminal import show_table


def show(title: str, columns: Mapping[str, Callable[[Any], str]], rows: Iterable[Any]) -> None:
    """Prints a table; each column has a name and a function from a row to the cell's text."""
    cells = [[text(row) for text in columns.values()] for row in rows]
    print()  # apart from the title, in which a table escapes the end of a line
    show_table(title, tuple(columns), cells)


def milliseconds(seconds: float) -> str:
    """Milliseconds with three digits."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def quartiles(times: Summary) -> str:
    """A median and its quartiles in milliseconds."""
    median, low, high = (milliseconds(seconds) for seconds in times[:3])
    return f"{median} ({low} to {high})"


def interval(ratio: Interval, digits: int = 2) -> str:
    """A ratio and its interval."""
    return f"{ratio.value:.{digits}f} ({ratio.low:.{digits}f} to {ratio.high:.{digits}f})"


def reported(value: Any | None, text: Callable[[Any], str]) -> str:
    """The text of a value that not every system reports."""
    return "not reported" if value is None else text(value)
