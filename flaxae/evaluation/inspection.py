"""Reconstructions of chosen examples, in bounded memory."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Int, UInt8

from flaxae.data.batches import Batch, padded
from flaxae.data.splits import Split
from flaxae.evaluation.embedding import Embedding, embed_images
from flaxae.training.step import Embedded, Inspected

InspectStep = Callable[[TrainState, Batch], Inspected]


def embed_by(step: InspectStep, state: TrainState, split: Split, batch_size: int) -> Embedding:
    """`embed_images` with a step that also reconstructs, so that one program is compiled."""

    def embed(state: TrainState, batch: Batch) -> Embedded:
        vectors, errors, _ = step(state, batch)
        return Embedded(vectors, errors)

    return embed_images(embed, state, split, min(batch_size, len(split.images)))


def reconstructions(
    step: InspectStep,
    state: TrainState,
    split: Split,
    rows: Int[np.ndarray, " chosen"],
    batch_size: int,
) -> Iterator[UInt8[np.ndarray, "batch height width channels"]]:
    """The reconstructions of these rows, a batch at a time."""
    size = min(batch_size, len(split.images))
    for first in range(0, len(rows), size):
        part = rows[first : first + size].astype(np.int32)
        numbers, mask = padded(part, size), padded(np.ones(len(part), bool), size)
        targets = None if split.targets is None else padded(split.targets[part], size)
        batch = Batch(padded(split.gather(part), size), numbers, mask, targets)
        yield jax.device_get(step(state, batch).pixels)[: len(part)]
