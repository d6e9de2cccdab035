"""Parses the text of a compiled XLA program into computations of instructions.

The grammar is that of `compiled.as_text()` (https://openxla.org/xla/operation_semantics and
xla/hlo/parser). Lines that are not instructions are skipped.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple


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

    name: str
    shape: Shape | None  # the first array of a tuple; None for a token
    opcode: str
    operands: tuple[str, ...]  # names
    attributes: str

    def attribute(self, pattern: str) -> str:
        """The first group of a pattern in the attributes, or ""."""
        match = re.search(pattern, self.attributes)
        return match[1] if match else ""

    def backend_config(self) -> dict[str, Any]:
        """The backend's own attributes; empty if there are none, or they are not JSON."""
        _, found, rest = self.attributes.partition("backend_config=")
        try:
            return json.JSONDecoder().raw_decode(rest)[0] if found else {}
        except ValueError:
            return {}


class Program(NamedTuple):
    """Computations by name, and the fusion instruction that runs each fused one."""

    computations: dict[str, dict[str, Instruction]]
    fusions: dict[str, Instruction]

    def instructions(self) -> Iterator[tuple[str, Instruction]]:
        """Every instruction with the name of its computation."""
        for name, computation in self.computations.items():
            yield from ((name, instruction) for instruction in computation.values())


_COMPUTATION = re.compile(r"^(?:ENTRY\s+)?%?([\w.\-]+)\s*(?:\(.*)?\{\s*$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT\s+)?%?(?P<name>[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<opcode>[\w\-]+)"
    r"\((?P<operands>.*?)\)(?P<attributes>, \w+=.*)?$"
)
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)[^}]*\})?")
_NAMES = re.compile(r"%[\w.\-]+|metadata=\{[^}]*\}|(calls|to_apply)=[\w.\-]+")


def parse(text: str) -> Program:
    """The computations of a program's text."""
    program = Program({}, {})
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            operands = tuple(re.findall(r"%([\w.\-]+)", match["operands"]))
            shape, attributes = _shape(match["shape"]), match["attributes"] or ""
            each = Instruction(match["name"], shape, match["opcode"], operands, attributes)
            current[each.name] = each
            if each.opcode == "fusion":
                program.fusions[each.attribute(r"calls=%?([\w.\-]+)")] = each
        elif (match := _COMPUTATION.match(line)) and not line.startswith("HloModule"):
            current = program.computations.setdefault(match[1], {})
    return program


def same_instructions(one: Program, other: Program) -> bool:
    """Whether both programs are the same but for names and the order of independent lines."""
    left, right = (
        Counter((i.opcode, i.shape, _NAMES.sub("", i.attributes)) for _, i in each.instructions())
        for each in (one, other)
    )
    return left == right


def _shape(text: str) -> Shape | None:
    match = _SHAPE.search(text)
    if match is None or match[1] in ("token", "opaque"):
        return None
    sizes, layout = (tuple(map(int, re.findall(r"\d+", match[i] or ""))) for i in (2, 3))
    return Shape(match[1], sizes, layout or tuple(reversed(range(len(sizes)))))
