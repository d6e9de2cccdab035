"""What a compiled program does with its convolutions, and which data it only moves."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.common.device import Runtime
from benchmarks.layouts.hlo import Instruction, Program, Shape

_LETTERS = {"b": "N", "f": "C", "0": "H", "1": "W", "i": "I", "o": "O"}


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
    found = []
    for name, instruction in program.instructions():
        labels = instruction.attribute(r"dim_labels=(\w+_\w+->\w+)")
        if labels and instruction.opcode in ("convolution", "custom-call"):
            executor = _executor(instruction, labels, program.fusions.get(name), runtime)
            computation = program.computations[name]
            found.append(_convolution(instruction, labels, computation, executor))
    return found


def moves(program: Program) -> Moves:
    """Transpositions and copies of the program, including those inside fusions."""
    counts: Counter[str] = Counter()
    for name, instruction in program.instructions():
        if instruction.opcode not in ("transpose", "copy", "copy-start") or not instruction.shape:
            continue
        source = _operands(instruction, program.computations[name])[0]
        reorders = _reorders(instruction, source)
        if instruction.opcode == "transpose" and not reorders:
            continue  # a view of the same memory: nothing moves
        kind = "transpose" if reorders else "copy"
        counts[kind] += 1
        counts[f"{kind} bytes"] += 2 * instruction.shape.bytes
        counts["fused"] += name in program.fusions
    keys = ("transpose", "transpose bytes", "copy", "copy bytes", "fused")
    return Moves(*(counts[key] for key in keys))


def _convolution(
    instruction: Instruction, labels: str, computation: Mapping[str, Instruction], executor: str
) -> Convolution:
    x, kernel = _operands(instruction, computation)[:2]
    y = result = instruction.shape
    # cuDNN's gradients keep the labels of the forward convolution, but compute another part of it.
    target = _target(instruction)
    if target.endswith("convBackwardFilter"):
        kernel, y = y, kernel
    elif target.endswith("convBackwardInput"):
        x, y = y, x
    inputs, filters, outputs = re.split(r"_|->", labels)
    sizes = [str(result.sizes[d]) for d in reversed(result.minor_to_major)] if result else []
    return Convolution(
        layer=_layer(instruction),
        executor=executor,
        dim_labels=labels,
        input=_order(inputs, x),
        filter=_order(filters, kernel),
        output=_order(outputs, y),
        result=f"{result.dtype}[{','.join(sizes)}]" if result else "unknown",
        window=instruction.attribute(r"window=\{([^}]*)\}"),
    )


def _operands(
    instruction: Instruction, computation: Mapping[str, Instruction]
) -> list[Shape | None]:
    """Shapes of at least two operands; None for those that are not there."""
    known = (computation.get(name) for name in (*instruction.operands, "", ""))
    return [operand.shape if operand else None for operand in known]


def _target(instruction: Instruction) -> str:
    return instruction.attribute(r'custom_call_target="([^"]+)"')


def _order(labels: str, shape: Shape | None) -> str:
    """Dimension letters from major to minor: "b01f" in {3,2,1,0} is NHWC, in {2,1,3,0} NCHW."""
    if shape is None or len(shape.sizes) != len(labels):
        return "unknown"
    return "".join(_LETTERS.get(labels[d], "?") for d in reversed(shape.minor_to_major))


def _layer(instruction: Instruction) -> str:
    """The layer's path in the operation's name, "jit(f)/.../encoder/blocks_0/layers_0/conv..."."""
    name = instruction.attribute(r'op_name="([^"]*)"')
    match = re.search(r"(?:encode|decode)/((?:encoder|decoder)/.+)/[^/]*$", name)
    gradient = " (gradient)" if "transpose(jvp" in name else ""
    return f"{match[1]}{gradient}" if match else ""


def _executor(
    instruction: Instruction, labels: str, fusion: Instruction | None, runtime: Runtime
) -> str:
    generated = "loops generated by XLA" if runtime == "cpu" else "kernel generated by XLA"
    if instruction.opcode == "custom-call":
        return _library(instruction, runtime)
    if fusion is not None:
        return _fused_library(fusion) or generated
    return "Eigen" if runtime == "cpu" and _suits_eigen(instruction, labels) else generated


def _library(call: Instruction, runtime: Runtime) -> str:
    target = _target(call)
    if not target.startswith("__cudnn$"):
        return "oneDNN" if target.startswith("__onednn$") else f"call of {target}"
    # ROCm's compiler keeps the name of the call and runs it with MIOpen.
    name = "MIOpen" if runtime == "rocm" else "cuDNN"
    algorithm = call.backend_config().get("cudnn_conv_backend_config", {}).get("algorithm")
    number = algorithm.get("algo_id", "0") if isinstance(algorithm, dict) else "not reported"
    return f"{name} {target.removeprefix('__cudnn$')}, algorithm {number}"


def _fused_library(fusion: Instruction) -> str:
    """The library that runs a fusion, or "" if XLA generates its code."""
    config = fusion.backend_config()
    settings = config.get("fusion_backend_config") or config.get("fusion_config") or {}
    kind = settings.get("kind", "")
    if kind.startswith("__cudnn$"):
        plan = settings.get("cudnn_fusion_config", {}).get("plan_id", "not reported")
        return f"cuDNN fusion, plan {plan}"
    libraries = {
        "__triton": "Triton kernel",
        "ynn": "YNNPACK",
        "xnn": "XNNPACK",
        "onednn": "oneDNN",
    }
    return next((library for word, library in libraries.items() if word in kind), "")


def _suits_eigen(instruction: Instruction, labels: str) -> bool:
    """XLA:CPU's condition (PotentiallyImplementedAsEigenConvolution), as far as the text shows."""
    is_float = instruction.shape is not None and instruction.shape.dtype in ("f16", "f32")
    return is_float and labels == "b01f_01io->b01f" and "rhs_reversal" not in instruction.attributes


def _reorders(instruction: Instruction, source: Shape | None) -> bool:
    """Whether a transposition or copy changes the order in memory."""
    if instruction.shape is None or source is None:
        return instruction.opcode == "transpose"
    order = instruction.shape.order()
    if instruction.opcode == "transpose":
        listed = instruction.attribute(r"dimensions=\{([\d,]*)\}").split(",")
        order = tuple(int(listed[d]) for d in order)
    return order != source.order()
