"""A case: its name, and what it does to a stage. Cases are data; `__main__` runs them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.faults.stage import Stage


@dataclass(frozen=True)
class Case:
    """One fault; `act` raises Lost or Skipped, and else the case has survived."""

    name: str
    act: Callable[[Stage], None]
    detail: str = ""


def spread(cases: Iterable[Case], count: int | None) -> list[Case]:
    """At most `count` cases, evenly spread; all of them for None."""
    found = list(cases)
    if count is None or count >= len(found):
        return found
    return [found[number * len(found) // count] for number in range(count)]
