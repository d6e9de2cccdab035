"""The device's limits, measured in the same run, and a lower bound of a program's time.

The limits are the rates of a large matrix product (arithmetic) and of a large pass over memory
(bytes). A program's floor is the larger of its operations and its bytes divided by these rates.
Williams et al. 2009, https://doi.org/10.1145/1498765.1498785.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.common.timing import interleave

_COPIED = 2**28  # bytes: more than the last-level cache of a CPU or a GPU
_SHORTEST = 4e-3  # seconds; the matrices double in size until one product takes as long
_LARGEST = 2**14  # rows


class Ceilings(NamedTuple):
    """The best of several samples, for one type."""

    flops_per_second: float  # multiplications and additions of a matrix product
    bytes_per_second: float  # read plus written
    matrix_rows: int

    def text(self) -> str:
        rate, rows = f"{self.flops_per_second / 1e9:,.0f} GFLOP/s", self.matrix_rows
        return f"{rate}, the rate of a product of {rows} x {rows} matrices on all cores"


class Cost(NamedTuple):
    """XLA's counts for one execution; None where XLA does not count."""

    flops: float | None
    bytes_accessed: float | None


def measure_ceilings(dtype: str, *, smoke: bool = False) -> Ceilings:
    """Measures both rates; `smoke` takes small sizes that only show that it works."""
    square, rows, seconds = jax.jit(lambda matrix: matrix @ matrix), 256, 0.0
    while rows < (512 if smoke else _LARGEST) and seconds < _SHORTEST:
        rows *= 2
        # Random, because some devices multiply zeros faster.
        matrix = jax.random.normal(jax.random.key(rows), (rows, rows)).astype(dtype)
        seconds = min(interleave({"": square}, [matrix], repeats=3, warmup=1)[""])
    return Ceilings(2 * rows**3 / seconds, _pass_over_memory(2**22 if smoke else _COPIED), rows)


def _pass_over_memory(size: int) -> float:
    """Bytes a second, read plus written."""
    source = jax.random.normal(jax.random.key(0), (size // 4,))
    # Reused by all results, because the system would have to clear the pages of a new one.
    targets = [jnp.zeros_like(source)]
    negated = jax.jit(lambda source, target: -source, donate_argnums=1, keep_unused=True)

    def copy(source: jax.Array) -> jax.Array:
        targets[0] = negated(source, targets[0])
        return targets[0]

    return 2 * size / min(interleave({"": copy}, [source], repeats=5, warmup=2)[""])


def cost(lowered: Any, executable: Any) -> Cost:
    """Operations of a `jax.stages.Lowered` and bytes of the `jax.stages.Compiled` made from it.

    The operations are counted before compilation, which adds some and hides those in library calls.
    The bytes are counted after it, because fusion decides what goes through memory.
    """

    def counted(stage: Any, key: str) -> float | None:
        value = (stage.cost_analysis() or {}).get(key, -1)
        return float(value) if value > 0 else None  # -1 stands for unknown

    return Cost(counted(lowered, "flops"), counted(executable, "bytes accessed"))


def floor_seconds(cost: Cost, ceilings: Ceilings) -> float | None:
    """The shortest time that the measured rates allow; None where a count is missing."""
    if cost.flops is None or cost.bytes_accessed is None:
        return None
    memory_seconds = cost.bytes_accessed / ceilings.bytes_per_second
    return max(cost.flops / ceilings.flops_per_second, memory_seconds)


def memory_bytes(compiled: Any) -> int | None:
    """Device memory that XLA plans for a program's arguments, results and temporaries."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    sizes = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return sizes - plan.alias_size_in_bytes
