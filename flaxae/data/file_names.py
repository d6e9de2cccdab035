"""File names that strangers gave: on a terminal, in tables, and as part of new file names."""

import os
import re
from collections.abc import Sequence

_NAMED = 3  # of many names, so many are shown
_LONGEST = 100  # characters of a name within a new file name


def printable(name: str) -> str:
    r"""A name on one line, in UTF-8; other characters become \n, \x.. or \u....

    Example:
        >>> printable("a\nb")
        'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def ascii_name(name: str) -> str:
    """`printable` in ASCII, for viewers that take nothing else."""
    return printable(name).encode("ascii", "backslashreplace").decode()


def picture_name(row: int, name: str | None) -> str:
    """The name of a picture of a row: "<row>_<base name>.png", whatever the base name holds.

    Example:
        >>> picture_name(7, "cats/a b.jpg")
        '7_a_b.png'
    """
    if name is None:
        return f"{row}.png"
    base = os.path.splitext(name.rpartition("/")[2])[0]
    plain = re.sub(r"[^\w.-]", "_", base, flags=re.ASCII)[:_LONGEST]
    return f"{row}_{plain}.png"


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    shown = ", ".join(printable(name) for name in names[:_NAMED])
    return f"{shown}, ..." if len(names) > _NAMED else shown
