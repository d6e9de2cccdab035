"""Parses the text of a compiled XLA program into its instructions.

The grammar is that of `compiled.as_text()` (https://openxla.org/xla/operation_semantics and
xla/hlo/parser). Lines that are not instructions are skipped.
"""

import math
import re
from collections import Counter
from typing import NamedTuple


class Shape(NamedTuple):
    """An array's type, its logical sizes, and its dimensions from minor to major."""

    dtype: str
    sizes: tuple[int, ...]
    minor_to_major: tuple[int, ...]

    @property
    def bytes(self) -> int:
        digits = re.search(r"\d+", self.dtype)
        bits = int(digits.group()) if digits else 8  # pred
        return -(-math.prod(self.sizes) * bits // 8)

    def order(self) -> tuple[int, ...]:
        """Dimensions from major to minor, without those of size 1: they have no place in memory."""
        return tuple(d for d in reversed(self.minor_to_major) if self.sizes[d] != 1)


class Instruction(NamedTuple):
    """One line of a computation."""

    computation: str
    shape: Shape | None  # the first array of a tuple; None for a token
    opcode: str
    operands: tuple[Shape | None, ...]  # None: not an array, or defined elsewhere
    attributes: str
    fusion: str | None = None  # the attributes of the fusion that runs its computation

    def attribute(self, pattern: str) -> str:
        """The first group of a pattern in the attributes, or ""."""
        match = re.search(pattern, self.attributes)
        return match[1] if match else ""


Program = tuple[Instruction, ...]

_COMPUTATION = re.compile(r"^(?:ENTRY\s+)?%?([\w.\-]+)\s*(?:\(.*)?\{\s*$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT\s+)?%?(?P<name>[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<opcode>[\w\-]+)"
    r"\((?P<operands>.*?)\)(?P<attributes>, \w+=.*)?$"
)
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)[^}]*\})?")
_NAMES = re.compile(r"%[\w.\-]+|metadata=\{[^}]*\}|(calls|to_apply)=[\w.\-]+")


def parse(text: str) -> Program:
    """The instructions of a program's text."""
    found: list[Instruction] = []
    fusions: dict[str, str] = {}  # attributes by the computation that is called
    computation, shapes = "", {}
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            shapes[match["name"]] = shape = _shape(match["shape"])
            names = re.findall(r"%([\w.\-]+)", match["operands"])
            operands, attributes = tuple(map(shapes.get, names)), match["attributes"] or ""
            each = Instruction(computation, shape, match["opcode"], operands, attributes)
            found.append(each)
            if each.opcode == "fusion":
                fusions[each.attribute(r"calls=%?([\w.\-]+)")] = attributes
        elif (match := _COMPUTATION.match(line)) and not line.startswith("HloModule"):
            computation, shapes = match[1], {}
    return tuple(each._replace(fusion=fusions.get(each.computation)) for each in found)


def same_instructions(one: Program, other: Program) -> bool:
    """Whether both programs are the same but for names and the order of independent lines."""
    left, right = (
        Counter((each.opcode, each.shape, _NAMES.sub("", each.attributes)) for each in program)
        for program in (one, other)
    )
    return left == right


def _shape(text: str) -> Shape | None:
    match = _SHAPE.search(text)
    if match is None or match[1] in ("token", "opaque"):
        return None
    sizes, layout = (tuple(map(int, re.findall(r"\d+", match[i] or ""))) for i in (2, 3))
    return Shape(match[1], sizes, layout or tuple(reversed(range(len(sizes)))))
