"""The tables of a page that shows runs beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flaxae.report.page.about import shown
from flaxae.report.page.numbers import Number, text


class Row(NamedTuple):
    """A row of the table: a text for each run, and which of them are the best."""

    name: str
    texts: list[str]
    best: list[int]


def differing(flags: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The flags whose values differ among the runs; a run may lack a flag of another model."""
    names = dict.fromkeys(name for values in flags for name in values)
    rows = []
    for name in names:
        texts = [shown(values[name]) if name in values else "" for values in flags]
        if len(set(texts)) > 1:
            rows.append(Row(f"--{name.replace('_', '-')}", texts, []))
    return rows


def compared(numbers: Sequence[Sequence[Number]], of_same_images: bool = True) -> list[Row]:
    """The numbers of each run by name; only those of the same images have a best one."""
    by_name = [{row.name: row for row in rows} for rows in numbers]
    names = dict.fromkeys(name for rows in by_name for name in rows)
    result = []
    for name in names:
        found = [rows[name].values.get("embedding") if name in rows else None for rows in by_name]
        known = [value for value in found if value is not None]
        lower = next(rows[name].lower for rows in by_name if name in rows)
        comparable = of_same_images and lower is not None and len(set(known)) > 1
        best = (min if lower else max)(known) if comparable else None
        result.append(
            Row(
                name,
                ["" if value is None else text(value) for value in found],
                [n for n, value in enumerate(found) if value is not None and value == best],
            )
        )
    return result


def unique_names(names: Sequence[str]) -> list[str]:
    """The names; those that occur several times get their place in the list."""
    return [
        f"{name} ({n})" if names.count(name) > 1 else name for n, name in enumerate(names, start=1)
    ]
