"""The embedding of a whole split."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Float32

from flaxae.data.batches import WHOLE, Batch, Share
from flaxae.data.splits import Split
from flaxae.errors import InputError
from flaxae.evaluation.by_example import of_each_example
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

    Several processes share the batches, and each gets the whole.

    Raises:
        InputError: it has a number that is not finite; the message names the first such example.
    """
    embedding = Embedding(*of_each_example(step, state, split, batch_size, share))
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
