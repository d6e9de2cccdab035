"""Class names as every viewer can show them."""

import re
import unicodedata
from collections.abc import Sequence

# What JavaScript's Number() takes for a number: the projector colors a column of numbers by a
# gradient, and passes it over when it looks for something to label points with.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|0[xbo][0-9a-f]+|[+-]?infinity", re.I)


def display_names(class_names: Sequence[str]) -> tuple[str, ...]:
    r"""The names in printable ASCII: none empty, none like a number, all different.

    Accents are dropped, other characters become \uXXXX, white space becomes one space. "class_"
    precedes a number, or the label where nothing is left; a name that was there before ends in
    its label.
    """
    names: list[str] = []
    for label, class_name in enumerate(class_names):
        name = _printable(class_name)
        if not name or _NUMBER.fullmatch(name):
            name = f"class_{name or label}"
        while name in names:
            name = f"{name}_{label}"
        names.append(name)
    return tuple(names)


def _printable(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    visible = "".join(c if c.isprintable() or not c.isascii() else " " for c in bare)
    return " ".join(visible.split()).encode("ascii", "backslashreplace").decode()
