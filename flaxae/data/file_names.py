"""File names that strangers gave: in messages, in tables, and as part of new file names."""

import heapq
import os
import re
from collections.abc import Iterable

_NAMED = 3  # of many names, so many are shown
_LONGEST = 160  # characters of a name in a message
_LONGEST_BASE = 100  # and within a new file name


def escaped(name: str) -> str:
    r"""A whole name on one line, in UTF-8; other characters become \n, \x.. or \u....

    Example:
        >>> escaped("a\nb")
        'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def ascii_name(name: str) -> str:
    """`escaped` in ASCII, for viewers that take nothing else."""
    return escaped(name).encode("ascii", "backslashreplace").decode()


def printable(name: object) -> str:
    """A name, path or other text as a message shows it: `escaped`, without a long middle.

    Example:
        >>> printable(200 * "a" + ".png")[-12:]
        'aaaaaaaa.png'
    """
    shown = escaped(str(name))
    return shown if len(shown) <= _LONGEST else f"{shown[:77]}...{shown[-80:]}"


def some(names: Iterable[str]) -> str:
    """The first three of many names, sorted, as a message shows them."""
    return ", ".join(map(printable, heapq.nsmallest(_NAMED, names)))


def counted(count: int, noun: str) -> str:
    """ "1 file", "2,000 files": the noun with an s unless there is one."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def picture_name(row: int, name: str | None) -> str:
    """The name of a picture of a row: "<row>_<base name>.png", whatever the base name holds.

    Example:
        >>> picture_name(7, "cats/a b.jpg")
        '7_a_b.png'
    """
    if name is None:
        return f"{row}.png"
    base = os.path.splitext(name.rpartition("/")[2])[0]
    plain = re.sub(r"[^\w.-]", "_", base, flags=re.ASCII)[:_LONGEST_BASE]
    return f"{row}_{plain}.png"
