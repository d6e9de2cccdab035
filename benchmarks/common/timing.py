"""Times variants of one computation: warmed up, interleaved, blocked on, with rotated inputs.

Interleaved (A B A B), because on a shared or heated machine identical code moves by 15 % between
minutes: what slows one variant then slows its neighbor in the same round too.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax

Input = TypeVar("Input")
Variant = Callable[[Input], Any]  # dispatches one call and returns what to wait for
Block = Callable[[Any], Any]
Clock = Callable[[], float]  # seconds


def interleave(
    variants: Mapping[str, Variant[Input]],
    inputs: Sequence[Input],
    *,
    repeats: int,
    warmup: int = 2,
    calls: int = 1,
    block: Block = jax.block_until_ready,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds a call of each variant, `repeats` samples each, in the order A B A B ...

    A sample is `calls` calls one after the other and one wait for the last of them. Each sample
    goes on with the next inputs, and the variants of a round have different ones: nobody is timed
    on what itself or its neighbor has just pulled into the cache.

    Raises:
        ValueError: there is nothing to time, or nothing to time it on.
    """
    if not variants or not inputs:
        raise ValueError(f"got {len(variants)} variants and {len(inputs)} inputs; give some")
    if repeats < 1 or warmup < 0 or calls < 1:
        raise ValueError(f"got repeats {repeats}, warmup {warmup}, calls {calls}; give 1, 0, 1 up")
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(-warmup, repeats):
        for place, (name, variant) in enumerate(variants.items()):
            first = turn * calls + place * len(inputs) // len(variants)
            batches = [inputs[(first + call) % len(inputs)] for call in range(calls)]
            seconds = _sample(variant, batches, block, clock)
            if turn >= 0:
                samples[name].append(seconds)
    return samples


def calls_per_sample(
    variants: Mapping[str, Variant[Input]],
    inputs: Sequence[Input],
    *,
    shortest_sample: float,
    most: int = 100,
    block: Block = jax.block_until_ready,
    clock: Clock = time.perf_counter,
) -> int:
    """How many calls make a sample last `shortest_sample` seconds, from 1 to `most`.

    Where a call takes a fraction of a millisecond, as on a GPU, waiting for each one would time
    the host's wake-up. The answer is one number for all variants.
    """
    timed = interleave(variants, inputs, repeats=2, warmup=1, block=block, clock=clock)
    fastest = min(min(seconds) for seconds in timed.values())
    return most if fastest <= 0 else min(most, max(1, math.ceil(shortest_sample / fastest)))


def _sample(variant: Variant[Input], batches: Sequence[Input], block: Block, clock: Clock) -> float:
    result = None
    start = clock()
    for batch in batches:
        result = variant(batch)
    block(result)
    return (clock() - start) / len(batches)
