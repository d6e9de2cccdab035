"""What a compiled program does with its convolutions, and which data it only moves."""

import re
from collections import Counter
from typing import NamedTuple

from benchmarks.common.device import Runtime
from benchmarks.layouts.hlo import Instruction, Program, Shape

_LETTERS = {"b": "N", "f": "C", "0": "H", "1": "W", "i": "I", "o": "O"}
_LIBRARIES = {"triton": "Triton kernel", "ynn": "YNNPACK", "xnn": "XNNPACK", "onednn": "oneDNN"}


class Convolution(NamedTuple):
    """A convolution as compiled; orders are those of memory, from major to minor."""

    layer: str  # from the operation's name in the source, as "encoder/blocks_0/layers_0"
    executor: str
    dim_labels: str
    input: str
    filter: str
    output: str
    result: str  # sizes of the result in memory, as "f32[64,28,28,16]"
    window: str

    def form(self) -> tuple[str, ...]:
        """The code that runs it, and its orders."""
        return (self.executor, self.input, self.filter, self.output)

    def work(self) -> tuple[str, ...]:
        """All but the layer's name and the labels: equal for equal convolutions."""
        return (*self.form(), self.result, self.window)


class Moves(NamedTuple):
    """Data that is only moved; bytes are those read plus those written."""

    transposes: int  # the order in memory changes
    transpose_bytes: int
    copies: int  # the order stays
    copy_bytes: int
    fused: int  # how many of them are inside a fusion


def convolutions(program: Program, runtime: Runtime) -> list[Convolution]:
    """Every convolution: library calls, fusions, and code that XLA generates."""
    return [
        _convolution(each, labels, runtime)
        for each in program
        if (labels := each.attribute(r"dim_labels=(\w+_\w+->\w+)"))
        and each.opcode in ("convolution", "custom-call")
    ]


def moves(program: Program) -> Moves:
    """Transpositions and copies of the program, including those inside fusions."""
    counts: Counter[str] = Counter()
    for each in program:
        if each.opcode not in ("transpose", "copy", "copy-start") or not each.shape:
            continue
        reorders = _reorders(each, each.shape)
        if each.opcode == "transpose" and not reorders:
            continue  # a view of the same memory: nothing moves
        kind = "transpose" if reorders else "copy"
        counts.update({kind: 1, f"{kind} bytes": 2 * each.shape.bytes})
        counts["fused"] += each.fusion is not None
    keys = ("transpose", "transpose bytes", "copy", "copy bytes", "fused")
    return Moves(*(counts[key] for key in keys))


def _convolution(each: Instruction, labels: str, runtime: Runtime) -> Convolution:
    x, kernel = (*each.operands, None, None)[:2]
    y = result = each.shape
    # cuDNN's gradients keep the labels of the forward convolution, but compute another part of it.
    target = each.attribute(r'custom_call_target="([^"]+)"')
    if target.endswith("convBackwardFilter"):
        kernel, y = y, kernel
    elif target.endswith("convBackwardInput"):
        x, y = y, x
    inputs, filters, outputs = re.split(r"_|->", labels)
    orders = (_order(inputs, x), _order(filters, kernel), _order(outputs, y))
    sizes = [str(result.sizes[d]) for d in reversed(result.minor_to_major)] if result else []
    in_memory = f"{result.dtype}[{','.join(sizes)}]" if result else "unknown"
    # The operation's name is "jit(f)/.../encode/encoder/blocks_0/layers_0/conv_general_dilated".
    name = each.attribute(r'op_name="([^"]*)"')
    path = re.search(r"(?:encode|decode)/((?:encoder|decoder)/.+)/[^/]*$", name)
    layer = path[1] + " (gradient)" * ("transpose(jvp" in name) if path else ""
    window = each.attribute(r"window=\{([^}]*)\}")
    executor = _executor(each, target, labels, runtime)
    return Convolution(layer, executor, labels, *orders, in_memory, window)


def _order(labels: str, shape: Shape | None) -> str:
    """Dimension letters from major to minor: "b01f" in {3,2,1,0} is NHWC, in {2,1,3,0} NCHW."""
    if shape is None or len(shape.sizes) != len(labels):
        return "unknown"
    return "".join(_LETTERS.get(labels[d], "?") for d in reversed(shape.minor_to_major))


def _executor(each: Instruction, target: str, labels: str, runtime: Runtime) -> str:
    """The library that runs a convolution, or what XLA generates for it."""
    if target.startswith("__cudnn$"):
        # ROCm's compiler keeps the name of the call and runs it with MIOpen.
        library = "MIOpen" if runtime == "rocm" else "cuDNN"
        missing = "0" if '"algorithm":{' in each.attributes else "not reported"
        algorithm = each.attribute(r'"algo_id":"(\d+)"') or missing
        return f"{library} {target.removeprefix('__cudnn$')}, algorithm {algorithm}"
    if target:
        return "oneDNN" if target.startswith("__onednn$") else f"call of {target}"
    if each.fusion is not None:
        kind, plan = (
            match[1] if (match := re.search(rf'"{key}":"([^"]*)"', each.fusion)) else ""
            for key in ("kind", "plan_id")
        )
        if kind.startswith("__cudnn$"):
            return f"cuDNN fusion, plan {plan or 'not reported'}"
        if library := next((name for word, name in _LIBRARIES.items() if word in kind), ""):
            return library
    elif runtime == "cpu" and _suits_eigen(each, labels):
        return "Eigen"
    return "loops generated by XLA" if runtime == "cpu" else "kernel generated by XLA"


def _suits_eigen(each: Instruction, labels: str) -> bool:
    """XLA:CPU's condition (PotentiallyImplementedAsEigenConvolution), as far as the text shows."""
    is_float = each.shape is not None and each.shape.dtype in ("f16", "f32")
    return is_float and labels == "b01f_01io->b01f" and "rhs_reversal" not in each.attributes


def _reorders(each: Instruction, result: Shape) -> bool:
    """Whether a transposition or copy changes the order in memory."""
    source = each.operands[0] if each.operands else None
    if source is None:
        return each.opcode == "transpose"
    order = result.order()
    if each.opcode == "transpose":
        listed = each.attribute(r"dimensions=\{([\d,]*)\}").split(",")
        order = tuple(int(listed[d]) for d in order)
    return order != source.order()
