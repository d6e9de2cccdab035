"""The embedding of a whole split."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Float32

from flaxae.data.batches import WHOLE, Batch, Share, evaluation_batches
from flaxae.data.splits import Split
from flaxae.errors import InputError
from flaxae.training.step import Embedded

EmbedStep = Callable[[TrainState, Batch], Embedded]


class Embedding(NamedTuple):
    """A split's embedding, in the order of its images."""

    vectors: Float32[np.ndarray, "examples dimensions"]
    errors: Float32[np.ndarray, " examples"]  # mean squared error, pixels in 0..1


def embed_images(
    step: EmbedStep, state: TrainState, split: Split, batch_size: int, share: Share = WHOLE
) -> Embedding:
    """The embedding of all images: the same for any batch size.

    `step` takes this `share` of every batch, and returns the embedding of the whole.

    Raises:
        InputError: it has a number that is not finite; the message names the first such example.
    """
    parts: list[Embedded] = []
    pending: list[Embedded] = []
    count = len(split.images)
    size = min(batch_size, count)
    for batch in evaluation_batches(split, size, share):
        pending.append(step(state, batch))
        if len(pending) > 1:  # one batch late, so that the device never waits for the host
            parts.append(jax.device_get(pending.pop(0)))
    parts += jax.device_get(pending)
    embedding = Embedding(  # without the padding
        np.concatenate([part.vectors[:size] for part in parts])[:count],
        np.concatenate([part.errors[:size] for part in parts])[:count],
    )
    _refuse_non_finite(embedding)
    return embedding


def _refuse_non_finite(embedding: Embedding) -> None:
    vectors, errors = embedding
    broken = ~(np.isfinite(vectors).all(axis=1) & np.isfinite(errors))
    if not broken.any():
        return
    example = int(broken.argmax())
    numbers = np.append(vectors[example], errors[example])
    position = int((~np.isfinite(numbers)).argmax())
    inside = position < vectors.shape[1]
    place = f"in dimension {position} of its vector" if inside else "as reconstruction error"
    raise InputError(
        f"example {example} of the split has {numbers[position]} {place}; expected finite numbers "
        "only: try another --checkpoint, or train again with a smaller --learning-rate"
    )
