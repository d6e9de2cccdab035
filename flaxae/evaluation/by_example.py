"""Computes something of each example of a split; several processes share the batches."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.data.batches import WHOLE, Batch, Share, batch_count, evaluation_batch
from flaxae.data.splits import Split
from flaxae.training import processes

Step = Callable[[TrainState, Batch], tuple[Any, ...]]  # arrays with an entry for each example


def of_each_example(
    step: Step, state: TrainState, split: Split, batch_size: int, share: Share = WHOLE
) -> list[np.ndarray]:
    """The arrays that `step` returns, for all examples in their order, without padding.

    Each process computes whole batches, by the program that one process runs: so the number of
    processes changes no byte. Every process gets everything.
    """
    size = min(batch_size, len(split.images))
    count = batch_count(split, size)
    each = -(-count // share.processes)  # batches of a process
    first = share.process * each
    parts: list[tuple[np.ndarray, ...]] = []
    pending: list[tuple[Any, ...]] = []
    for number in range(first, first + each):
        # Beyond the end the last batch comes again, so that all have equally many rows to join.
        pending.append(step(state, evaluation_batch(split, size, min(number, count - 1))))
        if share.processes > 1:
            processes.gather("the next images")  # so that a process that hangs is told of
        if len(pending) > 1:  # one batch late, so that the device never waits for the host
            parts.append(jax.device_get(pending.pop(0)))
    parts += jax.device_get(pending)
    found = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if share.processes > 1:
        found = processes.join_rows("the results of all images", found)
    return [column[: len(split.images)] for column in found]
