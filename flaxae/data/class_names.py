"""Makes class names that every viewer can display."""

import re
import unicodedata
from collections.abc import Sequence

# Text that JavaScript's Number() parses as a number. The projector colors a column of numbers by a
# gradient and does not offer it as the default label of points.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|0[xbo][0-9a-f]+|[+-]?infinity", re.I)


def display_names(class_names: Sequence[str]) -> tuple[str, ...]:
    r"""Returns the names in printable ASCII: not empty, not numeric and unique.

    Accents are removed, other characters become \uXXXX, and runs of white space become one space.
    A numeric name gets the prefix "class_". An empty name becomes "class_" and its label, its
    position in `class_names`. A duplicate name gets its label as a suffix.
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
