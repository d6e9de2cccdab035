"""What a compiled program does with its convolutions, and which data it only moves."""

import re
from collections import Counter
from typing import Literal, NamedTuple

from benchmarks.layouts.hlo import Instruction, Program, Shape, attribute, backend_config

Runtime = Literal["cpu", "cuda", "rocm", "tpu"]
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
        """Who computes it, and in which orders."""
        return (self.executor, self.input, self.filter, self.output)

    def work(self) -> tuple[str, ...]:
        """What makes two convolutions the same: all but the layer's name and the labels."""
        return (*self.form(), self.result, self.window)


class Moves(NamedTuple):
    """Data that is only moved; bytes are those read and those written."""

    transposes: int  # the order in memory changes
    transpose_bytes: int
    copies: int  # the order stays
    copy_bytes: int
    fused: int  # how many of them happen on the way, inside a fusion


def convolutions(program: Program, runtime: Runtime) -> list[Convolution]:
    """Every convolution, whoever runs it: a library's call, a fusion, or a loop of XLA's own."""
    found = []
    for name, computation in program.computations.items():
        fusion = program.fusions.get(name)
        for instruction in computation.values():
            labels = attribute(instruction, r"dim_labels=(\w+_\w+->\w+)")
            if labels and instruction.opcode in ("convolution", "custom-call"):
                executor = _executor(instruction, labels, fusion, runtime)
                found.append(_convolution(instruction, labels, computation, executor))
    return found


def moves(program: Program) -> Moves:
    """Transpositions and copies of the program, those inside fusions included."""
    counts: Counter[str] = Counter()
    for name, computation in program.computations.items():
        for instruction in computation.values():
            if instruction.opcode not in ("transpose", "copy", "copy-start"):
                continue
            source = computation.get(instruction.operands[0]) if instruction.operands else None
            if instruction.shape is None:
                continue
            reorders = _reorders(instruction, source)
            if instruction.opcode == "transpose" and not reorders:
                continue  # another way to look at the same memory: nothing moves
            kind = "transpose" if reorders else "copy"
            counts[kind] += 1
            counts[f"{kind} bytes"] += 2 * instruction.shape.bytes
            counts["fused"] += name in program.fusions
    return Moves(
        counts["transpose"],
        counts["transpose bytes"],
        counts["copy"],
        counts["copy bytes"],
        counts["fused"],
    )


def _convolution(
    instruction: Instruction,
    labels: str,
    computation: dict[str, Instruction],
    executor: str,
) -> Convolution:
    target = attribute(instruction, r'custom_call_target="([^"]+)"')
    first, second = (_operand(name, computation) for name in instruction.operands[:2])
    # cuDNN's gradients keep the forward convolution's labels and compute another of its parts.
    x, kernel, y = first, second, instruction.shape
    if target.endswith("convBackwardFilter"):
        x, kernel, y = first, instruction.shape, second
    elif target.endswith("convBackwardInput"):
        x, kernel, y = instruction.shape, second, first
    inputs, filters, outputs = re.split(r"_|->", labels)
    return Convolution(
        layer=_layer(instruction),
        executor=executor,
        dim_labels=labels,
        input=_order(inputs, x),
        filter=_order(filters, kernel),
        output=_order(outputs, y),
        result=_in_memory(instruction.shape),
        window=attribute(instruction, r"window=\{([^}]*)\}"),
    )


def _operand(name: str, computation: dict[str, Instruction]) -> Shape | None:
    return computation[name].shape if name in computation else None


def _order(labels: str, shape: Shape | None) -> str:
    """Dimension letters from major to minor: "b01f" in {3,2,1,0} is NHWC, in {2,1,3,0} NCHW."""
    if shape is None or len(shape.sizes) != len(labels):
        return "unknown"
    return "".join(_LETTERS.get(labels[d], "?") for d in reversed(shape.minor_to_major))


def _in_memory(shape: Shape | None) -> str:
    if shape is None:
        return "unknown"
    return f"{shape.dtype}[{','.join(str(shape.sizes[d]) for d in reversed(shape.minor_to_major))}]"


def _layer(instruction: Instruction) -> str:
    """The layer's path in the operation's name, "jit(f)/.../encoder/blocks_0/layers_0/conv..."."""
    name = attribute(instruction, r'op_name="([^"]*)"')
    match = re.search(r"(?:encode|decode)/((?:encoder|decoder)/.+)/[^/]*$", name)
    gradient = " (gradient)" if "transpose(jvp" in name else ""
    return f"{match[1]}{gradient}" if match else ""


def _executor(
    instruction: Instruction, labels: str, fusion: Instruction | None, runtime: Runtime
) -> str:
    if instruction.opcode == "custom-call":
        return _called_library(instruction, runtime)
    if fusion is not None:
        return _fused_by(fusion, runtime)
    if runtime == "cpu":
        return "Eigen" if _suits_eigen(instruction, labels) else "loops generated by XLA"
    return "kernel generated by XLA"


def _called_library(instruction: Instruction, runtime: Runtime) -> str:
    target = attribute(instruction, r'custom_call_target="([^"]+)"')
    if not target.startswith("__cudnn$"):
        return "oneDNN" if target.startswith("__onednn$") else f"call of {target}"
    # ROCm's compiler keeps the name of the call and runs it with MIOpen.
    name = "MIOpen" if runtime == "rocm" else "cuDNN"
    algorithm = backend_config(instruction).get("cudnn_conv_backend_config", {}).get("algorithm")
    number = algorithm.get("algo_id", "0") if isinstance(algorithm, dict) else "not reported"
    return f"{name} {target.removeprefix('__cudnn$')}, algorithm {number}"


def _fused_by(fusion: Instruction, runtime: Runtime) -> str:
    config = backend_config(fusion)
    settings = config.get("fusion_backend_config") or config.get("fusion_config") or {}
    kind = settings.get("kind", "")
    if kind.startswith("__cudnn$"):
        plan = settings.get("cudnn_fusion_config", {}).get("plan_id", "not reported")
        return f"cuDNN fusion, plan {plan}"
    if kind.startswith("__triton"):
        return "Triton kernel"
    if "ynn" in kind or "xnn" in kind:
        return "YNNPACK" if "ynn" in kind else "XNNPACK"
    if "onednn" in kind:
        return "oneDNN"
    return "loops generated by XLA" if runtime == "cpu" else "kernel generated by XLA"


def _suits_eigen(instruction: Instruction, labels: str) -> bool:
    """XLA:CPU's condition (PotentiallyImplementedAsEigenConvolution), as far as the text shows."""
    is_float = instruction.shape is not None and instruction.shape.dtype in ("f16", "f32")
    return is_float and labels == "b01f_01io->b01f" and "rhs_reversal" not in instruction.attributes


def _reorders(instruction: Instruction, source: Instruction | None) -> bool:
    """Whether a transposition or copy changes the order in memory."""
    if instruction.shape is None or source is None or source.shape is None:
        return instruction.opcode == "transpose"
    if instruction.opcode != "transpose":
        return instruction.shape.order() != source.shape.order()
    listed = attribute(instruction, r"dimensions=\{([\d,]*)\}")
    came_from = [int(d) for d in listed.split(",") if d]
    return tuple(came_from[d] for d in instruction.shape.order()) != source.shape.order()
