"""Runs a model over a split: its reconstruction quality, and pictures of a few reconstructions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Float32, UInt8

from flaxae.data.store import Batch, ImageSet, evaluation_batches, pick_examples
from flaxae.errors import InputError
from flaxae.objectives.measures import Quality, Sums, add, quality
from flaxae.training.parts import Keys
from flaxae.training.step import Embedded, Rng, reconstruct_step

EvalStep = Callable[[TrainState, Batch, Keys], Sums]
EmbedStep = Callable[[TrainState, Batch], Embedded]
Pictures = UInt8[np.ndarray, "examples height width channels"]


class Embedding(NamedTuple):
    """A split's embedding, in the order of its images."""

    vectors: Float32[np.ndarray, "examples dimensions"]
    errors: Float32[np.ndarray, " examples"]  # mean squared error, pixels in 0..1


def evaluate(
    step: EvalStep, state: TrainState, images: Pictures, batch_size: int, rng: Rng
) -> Quality:
    """The quality over all images: the same number for any batch size."""
    batch_size = min(batch_size, len(images))
    total, keys = Sums(0.0, 0.0, 0.0), Keys(noise=rng, dropout=rng)
    for batch in evaluation_batches(images, batch_size):
        total = add(total, step(state, batch, keys))
    return quality(total)


def embed_images(
    step: EmbedStep, state: TrainState, images: Pictures, batch_size: int
) -> Embedding:
    """The embedding of all images: the same for any batch size.

    Raises:
        InputError: it holds a number that is not finite; the first such example is named.
    """
    parts: list[Embedded] = []
    pending: list[Embedded] = []
    for batch in evaluation_batches(images, min(batch_size, len(images))):
        pending.append(step(state, batch))
        if len(pending) > 1:  # one batch late, so that the device never waits for the host
            parts.append(jax.device_get(pending.pop(0)))
    parts += jax.device_get(pending)
    count = len(images)  # what comes after is the padding of the last batch
    embedding = Embedding(
        np.concatenate([part.vectors for part in parts])[:count],
        np.concatenate([part.errors for part in parts])[:count],
    )
    _refuse_non_finite(embedding)
    return embedding


def pick_batch(split: ImageSet, count: int) -> Batch:
    """At most `count` examples to look at, of each class equally many as far as that goes."""
    rows = np.array(pick_examples(split.labels, min(count, len(split.images))), np.int32)
    return Batch(split.images[rows], rows, np.ones(len(rows), bool))


def reconstruction_rows(
    state: TrainState, batch: Batch, rng: Rng, noise_factor: float
) -> dict[str, Pictures]:
    """The rows of a picture: input, noisy input where there is noise, and reconstruction."""
    noisy, logits = _jitted_reconstruct_step(state, batch, rng, noise_factor=noise_factor)
    between = {"noisy": _to_bytes(noisy)} if noise_factor else {}
    return {
        "input": np.asarray(batch.images),
        **between,
        "reconstruction": _to_bytes(jax.nn.sigmoid(logits)),
    }


# Jitted here because operation by operation it would compile for seconds.
_jitted_reconstruct_step = jax.jit(reconstruct_step, static_argnames="noise_factor")


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
        "only: take another --checkpoint, or train again with a smaller --learning-rate"
    )


def _to_bytes(pixels: jax.Array) -> Pictures:
    return np.asarray(pixels * 255).round().astype(np.uint8)
