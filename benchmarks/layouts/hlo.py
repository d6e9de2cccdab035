"""Reads the text of a compiled XLA program into computations of instructions.

The grammar is that of `compiled.as_text()` (https://openxla.org/xla/operation_semantics and
xla/hlo/parser). Lines that are no instruction are passed over.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple


class Shape(NamedTuple):
    """An array's type, its logical sizes, and its dimensions from the fastest-varying on."""

    dtype: str
    sizes: tuple[int, ...]
    minor_to_major: tuple[int, ...]

    @property
    def bytes(self) -> int:
        digits = re.search(r"\d+", self.dtype)
        bits = int(digits.group()) if digits else 8  # pred
        count = 1
        for size in self.sizes:
            count *= size
        return -(-count * bits // 8)

    def order(self) -> tuple[int, ...]:
        """Dimensions from major to minor; those of size 1 are nowhere in memory, so left out."""
        return tuple(d for d in reversed(self.minor_to_major) if self.sizes[d] != 1)


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: Shape | None  # the first array of a tuple; None for a token
    opcode: str
    operands: tuple[str, ...]
    attributes: str


class Program(NamedTuple):
    """Computations by name, and for each fused one the fusion instruction that runs it."""

    computations: dict[str, dict[str, Instruction]]
    fusions: dict[str, Instruction]


_COMPUTATION = re.compile(r"^(?:ENTRY\s+)?%?([\w.\-]+)\s*(?:\(.*)?\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT\s+)?%?([\w.\-]+) = (.*)$")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)[^}]*\})?")


def parse(text: str) -> Program:
    """The computations of a program's text."""
    computations: dict[str, dict[str, Instruction]] = {}
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            instruction = _instruction(match[1], match[2])
            current[instruction.name] = instruction
        elif (match := _COMPUTATION.match(line)) and not line.startswith("HloModule"):
            current = computations.setdefault(match[1], {})
    fusions = {
        called[1]: instruction
        for instruction in _all(computations)
        if instruction.opcode == "fusion"
        and (called := re.search(r"calls=%?([\w.\-]+)", instruction.attributes))
    }
    return Program(computations, fusions)


def same_instructions(one: Program, other: Program) -> bool:
    """Whether both programs are the same but for names and the order of independent lines."""
    return _fingerprint(one) == _fingerprint(other)


def _fingerprint(program: Program) -> Counter[tuple[str, Shape | None, str]]:
    names = re.compile(r"%[\w.\-]+|metadata=\{[^}]*\}|(calls|to_apply)=[\w.\-]+")
    return Counter(
        (instruction.opcode, instruction.shape, names.sub("", instruction.attributes))
        for instruction in _all(program.computations)
    )


def _all(computations: dict[str, dict[str, Instruction]]) -> Iterator[Instruction]:
    return (instruction for each in computations.values() for instruction in each.values())


def _instruction(name: str, text: str) -> Instruction:
    """Takes "f32[8]{0} add(%a, %b), metadata={...}" apart."""
    shape_end = _closing(text, 0) + 1 if text.startswith("(") else text.find(" ")
    opcode, _, rest = text[shape_end:].strip().partition("(")
    operands_end = _closing("(" + rest, 0) - 1
    operands = re.split(r",(?![^\[{(]*[\]})])", rest[:operands_end])
    # Older versions print "f32[8]{0} %a", newer ones "%a", some after a comment "/*index=5*/".
    names = (operand.split()[-1] for operand in operands if operand.strip())
    return Instruction(
        name,
        _shape(text[:shape_end]),
        opcode.strip(),
        tuple(re.sub(r"/\*.*?\*/|%", "", operand) for operand in names),
        rest[operands_end + 1 :],
    )


def _closing(text: str, start: int) -> int:
    """The index of the parenthesis that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text)


def _shape(text: str) -> Shape | None:
    match = _SHAPE.search(text)
    if match is None or match[1] in ("token", "opaque"):
        return None
    sizes = tuple(map(int, filter(None, match[2].split(","))))
    layout = tuple(map(int, filter(None, (match[3] or "").split(","))))
    return Shape(match[1], sizes, layout or tuple(reversed(range(len(sizes)))))


def attribute(instruction: Instruction, pattern: str) -> str:
    """The first group of a pattern in the attributes, "" where it does not occur."""
    match = re.search(pattern, instruction.attributes)
    return match[1] if match else ""


def backend_config(instruction: Instruction) -> dict[str, Any]:
    """What the backend noted for itself; empty where there is nothing, or nothing readable."""
    _, found, rest = instruction.attributes.partition("backend_config=")
    try:
        return json.JSONDecoder().raw_decode(rest)[0] if found else {}
    except ValueError:
        return {}
