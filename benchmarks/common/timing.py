"""Times several variants of one computation: warmed up, interleaved, on rotating inputs.

The variants take turns (A B A B), because identical code varies by several percent from one minute
to the next on a shared or heated machine. Interleaved, such a change affects all variants.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

_MOST_CALLS = 100  # in a sample
Variant = Callable[[Any], Any]  # dispatches one call on an input and returns its result


def seconds_of(work: Callable[[], Any]) -> float:
    """The seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleave(
    variants: Mapping[str, Variant],
    inputs: Sequence[Any],
    *,
    repeats: int,
    warmup: int = 2,
    calls: int = 1,
    block: Callable[[Any], Any] = jax.block_until_ready,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per call of each variant, `repeats` samples each, in the order A B A B ...

    A sample makes `calls` calls and blocks on the last result. Each sample takes the next inputs,
    and the variants of a round take different ones, so that none finds its input in the cache.
    """
    if not variants or not inputs:
        raise ValueError(f"got {len(variants)} variants and {len(inputs)} inputs; give some")
    if repeats < 1 or warmup < 0 or calls < 1:
        raise ValueError(f"got repeats {repeats}, warmup {warmup}, calls {calls}; give 1, 0, 1 up")
    samples: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(-warmup, repeats):
        for place, (name, variant) in enumerate(variants.items()):
            first = turn * calls + place * len(inputs) // len(variants)
            result, start = None, clock()
            for call in range(first, first + calls):
                result = variant(inputs[call % len(inputs)])
            block(result)
            samples[name].append((clock() - start) / calls)
    return {name: seconds[warmup:] for name, seconds in samples.items()}


def calls_per_sample(
    variants: Mapping[str, Variant], inputs: Sequence[Any], *, shortest: float, **measuring: Any
) -> int:
    """The number of calls, from 1 to 100, that makes a sample last `shortest` seconds.

    Blocking on every call of less than a millisecond would time the host, not the device. All
    variants get the number of the fastest. `measuring` goes to `interleave`.
    """
    timed = interleave(variants, inputs, repeats=2, warmup=1, **measuring)
    fastest = min(min(seconds) for seconds in timed.values())
    return _MOST_CALLS if fastest <= 0 else min(_MOST_CALLS, max(1, math.ceil(shortest / fastest)))
