"""The text of a compiled XLA program: its instructions, its convolutions, and what it only moves.

The grammar is that of `compiled.as_text()` (https://openxla.org/xla/operation_semantics and
xla/hlo/parser). Lines that are not instructions are skipped.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

from benchmarks.common.device import Runtime


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

    def attribute(self, name: str) -> str:
        """The attribute of this name in `_ATTRIBUTES`, or ""."""
        match = re.search(_ATTRIBUTES[name], self.attributes)
        return match[1] if match else ""


Program = tuple[Instruction, ...]

_COMPUTATION = re.compile(r"^(?:ENTRY\s+)?%?([\w.\-]+)\s*(?:\(.*)?\{\s*$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT\s+)?%?(?P<name>[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<opcode>[\w\-]+)"
    r"\((?P<operands>.*?)\)(?P<attributes>, \w+=.*)?$"
)
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)[^}]*\})?")
_ATTRIBUTES = {
    "calls": r"calls=%?([\w.\-]+)",
    "labels": r"dim_labels=(\w+_\w+->\w+)",
    "dimensions": r"dimensions=\{([\d,]*)\}",
    "target": r'custom_call_target="([^"]+)"',
    "window": r"window=\{([^}]*)\}",
    "algorithm": r'"algo_id":"(\d+)"',
}
_NAMES = re.compile(r"%[\w.\-]+|metadata=\{[^}]*\}|(calls|to_apply)=[\w.\-]+")
_LETTERS = {"b": "N", "f": "C", "0": "H", "1": "W", "i": "I", "o": "O"}
_LIBRARIES = {"triton": "Triton kernel", "ynn": "YNNPACK", "xnn": "XNNPACK", "onednn": "oneDNN"}


class Convolution(NamedTuple):
    """A convolution as compiled; orders are those of memory, from major to minor."""

    executor: str
    input: str
    filter: str
    output: str
    result: str  # sizes of the result in memory, as "f32[64,28,28,16]"
    window: str


class Moves(NamedTuple):
    """Data that is only moved; bytes are those read plus those written."""

    transposes: int  # the order in memory changes
    transpose_bytes: int
    copies: int  # the order stays
    copy_bytes: int


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
                fusions[each.attribute("calls")] = attributes
        elif (match := _COMPUTATION.match(line)) and not line.startswith("HloModule"):
            computation, shapes = match[1], {}
    return tuple(each._replace(fusion=fusions.get(each.computation)) for each in found)


def same_instructions(one: Program, other: Program) -> bool:
    """Whether both programs are the same but for names and the order of independent lines."""

    def counted(program: Program) -> Counter[tuple]:
        return Counter((i.opcode, i.shape, _NAMES.sub("", i.attributes)) for i in program)

    return counted(one) == counted(other)


def _shape(text: str) -> Shape | None:
    match = _SHAPE.search(text)
    if match is None or match[1] in ("token", "opaque"):
        return None
    sizes, layout = (tuple(map(int, re.findall(r"\d+", match[i] or ""))) for i in (2, 3))
    return Shape(match[1], sizes, layout or tuple(reversed(range(len(sizes)))))


def convolutions(program: Program, runtime: Runtime) -> list[Convolution]:
    """Every convolution: library calls, fusions, and code that XLA generates."""
    convolving = (each for each in program if each.opcode in ("convolution", "custom-call"))
    return [_convolution(each, runtime) for each in convolving if each.attribute("labels")]


def moves(program: Program) -> Moves:
    """Transpositions and copies of the program, including those inside fusions."""
    counts: Counter[str] = Counter()
    for each in program:
        if each.opcode not in ("transpose", "copy", "copy-start") or not each.shape:
            continue
        source, order = next(iter(each.operands), None), each.shape.order()
        if each.opcode == "transpose":
            listed = each.attribute("dimensions").split(",")
            order = tuple(int(listed[d]) for d in order)
        same = each.opcode != "transpose" if source is None else order == source.order()
        if each.opcode == "transpose" and same:
            continue  # a view of the same memory: nothing moves
        kind = "copy" if same else "transpose"
        counts.update({kind: 1, f"{kind} bytes": 2 * each.shape.bytes})
    return Moves(*(counts[key] for key in ("transpose", "transpose bytes", "copy", "copy bytes")))


def _convolution(each: Instruction, runtime: Runtime) -> Convolution:
    x, kernel = (*each.operands, None, None)[:2]
    y = result = each.shape
    # cuDNN's gradients keep the labels of the forward convolution, but compute another part of it.
    target = each.attribute("target")
    if target.endswith("convBackwardFilter"):
        kernel, y = y, kernel
    elif target.endswith("convBackwardInput"):
        x, y = y, x
    inputs, filters, outputs = re.split(r"_|->", each.attribute("labels"))
    orders = (_order(inputs, x), _order(filters, kernel), _order(outputs, y))
    in_memory = "unknown"
    if result:
        sizes = (str(result.sizes[d]) for d in reversed(result.minor_to_major))
        in_memory = f"{result.dtype}[{','.join(sizes)}]"
    return Convolution(_executor(each, runtime), *orders, in_memory, each.attribute("window"))


def _order(labels: str, shape: Shape | None) -> str:
    """Dimension letters from major to minor: "b01f" in {3,2,1,0} is NHWC, in {2,1,3,0} NCHW."""
    if shape is None or len(shape.sizes) != len(labels):
        return "unknown"
    return "".join(_LETTERS.get(labels[d], "?") for d in reversed(shape.minor_to_major))


def _executor(each: Instruction, runtime: Runtime) -> str:
    """The library that runs a convolution, or what XLA generates for it."""
    target = each.attribute("target")
    if target.startswith("__cudnn$"):
        # ROCm's compiler keeps the name of the call and runs it with MIOpen.
        library = "MIOpen" if runtime == "rocm" else "cuDNN"
        missing = "0" if '"algorithm":{' in each.attributes else "not reported"
        algorithm = each.attribute("algorithm") or missing
        return f"{library} {target.removeprefix('__cudnn$')}, algorithm {algorithm}"
    if target:
        return "oneDNN" if target.startswith("__onednn$") else f"call of {target}"
    if each.fusion is not None:
        found = dict(re.findall(r'"(kind|plan_id)":"([^"]*)"', each.fusion))
        kind = found.get("kind", "")
        if kind.startswith("__cudnn$"):
            return f"cuDNN fusion, plan {found.get('plan_id') or 'not reported'}"
        if libraries := [name for word, name in _LIBRARIES.items() if word in kind]:
            return libraries[0]
    if runtime != "cpu":
        return "kernel generated by XLA"
    # XLA:CPU's condition (PotentiallyImplementedAsEigenConvolution), as far as the text shows.
    floats = each.shape is not None and each.shape.dtype in ("f16", "f32")
    forward = (
        each.attribute("labels") == "b01f_01io->b01f" and "rhs_reversal" not in each.attributes
    )
    eigen = each.fusion is None and floats and forward
    return "Eigen" if eigen else "loops generated by XLA"
