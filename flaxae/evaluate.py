"""Runs a model over a split: its reconstruction quality, and pictures of a few reconstructions."""

from collections.abc import Callable

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import UInt8

from flaxae.batching import Keys
from flaxae.data import Batch, ImageSet, evaluation_batches, pick_examples
from flaxae.metrics import Quality, Sums, add, quality
from flaxae.step import Rng, reconstruct_step

EvalStep = Callable[[TrainState, Batch, Keys], Sums]
Pictures = UInt8[np.ndarray, "examples height width channels"]


def evaluate(
    step: EvalStep, state: TrainState, images: Pictures, batch_size: int, rng: Rng
) -> Quality:
    """The quality over all images: the same number for any batch size."""
    total, keys = Sums(0.0, 0.0, 0.0), Keys(noise=rng, dropout=rng)
    for batch in evaluation_batches(images, batch_size):
        total = add(total, step(state, batch, keys))
    return quality(total)


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


def _to_bytes(pixels: jax.Array) -> Pictures:
    return np.asarray(pixels * 255).round().astype(np.uint8)
