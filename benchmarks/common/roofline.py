"""What a device can do at best, measured here and now, and the time below which no program can run.

Two ceilings: a large matrix product (arithmetic) and a large pass over memory (bytes). A program's
floor is the larger of its operations and its bytes over their ceiling. Williams et al. 2009,
https://doi.org/10.1145/1498765.1498785.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.common.timing import interleave

_COPIED = 2**28  # bytes: more than the last-level cache of any device that this runs on
_SHORTEST = 4e-3  # seconds; the matrices double until one product takes as long
_LARGEST = 2**14  # rows


class Ceilings(NamedTuple):
    """Best of several samples, for one type."""

    flops_per_second: float  # a matrix product's multiplications and additions
    bytes_per_second: float  # read plus written
    matrix_rows: int


class Cost(NamedTuple):
    """What XLA's cost analysis counts for one execution; None where it does not tell."""

    flops: float | None
    bytes_accessed: float | None


def measure_ceilings(dtype: str, *, smoke: bool = False) -> Ceilings:
    """Measures both ceilings; `smoke` takes sizes that only show that it works."""
    rows, flops_per_second = _matrix_product(dtype, shortest=0 if smoke else _SHORTEST)
    return Ceilings(flops_per_second, _pass_over_memory(2**22 if smoke else _COPIED), rows)


def cost(lowered: Any, executable: Any) -> Cost:
    """Operations of a `jax.stages.Lowered` and bytes of the `Compiled` that it became.

    Operations are those of the function, before the compiler adds its own, and before it hides
    some in calls of cuDNN; so they are one number for both layouts. Bytes are those of the
    compiled program, because fusion decides what goes through memory.
    """
    return Cost(_counted(lowered, "flops"), _counted(executable, "bytes accessed"))


def floor_seconds(cost: Cost, ceilings: Ceilings) -> float | None:
    """The time below which the ceilings allow no execution; None where a count is missing."""
    if cost.flops is None or cost.bytes_accessed is None:
        return None
    return max(
        cost.flops / ceilings.flops_per_second, cost.bytes_accessed / ceilings.bytes_per_second
    )


def memory_bytes(compiled: Any) -> int | None:
    """Bytes of device memory that XLA planned for a program's arguments, results and between."""
    try:
        plan = compiled.memory_analysis()
    except (NotImplementedError, RuntimeError):
        return None
    if plan is None:
        return None
    return (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )


def _matrix_product(dtype: str, shortest: float) -> tuple[int, float]:
    square = jax.jit(lambda matrix: matrix @ matrix)
    rows = 512
    while True:
        # Random, because some units run faster on zeros.
        matrix = jax.random.normal(jax.random.key(rows), (rows, rows)).astype(dtype)
        seconds = min(interleave({"": square}, [matrix], repeats=3, warmup=1)[""])
        if seconds >= shortest or rows >= _LARGEST:
            return rows, 2 * rows**3 / seconds
        rows *= 2


def _pass_over_memory(size: int) -> float:
    """Bytes a second, read plus written.

    The result goes where the last one lay: a fresh buffer would time the operating system's
    zeroing of new pages, 10 to 30 times slower than memory on a CPU.
    """
    source = jax.random.normal(jax.random.key(0), (size // 4,))
    targets = [jnp.zeros_like(source)]
    negated = jax.jit(lambda source, target: -source, donate_argnums=1, keep_unused=True)

    def copy(source: jax.Array) -> jax.Array:
        targets[0] = negated(source, targets[0])
        return targets[0]

    seconds = min(interleave({"": copy}, [source], repeats=5, warmup=2)[""])
    return 2 * size / seconds


def _counted(stage: Any, key: str) -> float | None:
    """An entry of a cost analysis, whichever form this version of JAX gives it in."""
    try:
        analysis = stage.cost_analysis()
    except (NotImplementedError, RuntimeError):  # jaxlib's errors derive from RuntimeError
        return None
    if isinstance(analysis, (list, tuple)):  # one entry for each partition
        analysis = analysis[0] if analysis else None
    value = analysis.get(key) if analysis else None
    return float(value) if value is not None and value > 0 else None  # -1 stands for unknown
