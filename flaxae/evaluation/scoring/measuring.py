"""What scores need of images: reconstruction errors and embeddings, in batches."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Array, Float, Float32

from flaxae.data.batches import WHOLE, AnyArray, Batch, Share, padded
from flaxae.data.splits import Pixels, Split
from flaxae.errors import InputError
from flaxae.evaluation.by_example import of_each_example
from flaxae.evaluation.scoring.scores import Measured
from flaxae.objectives.losses import sigmoid_cross_entropy
from flaxae.training.step import to_float


class Compared(NamedTuple):
    """A batch of clean images beside their reconstructions."""

    vectors: Float[Array, "batch dimensions"]
    pixels: Float[Array, "batch height width channels"]  # of the reconstruction, in 0..1
    errors: Float[Array, "batch height width"]  # squared, the mean over the channels
    cross_entropy: Float[Array, " batch"]  # nats a pixel


class Maps(NamedTuple):
    """The reconstruction of each image, and where it differs."""

    pixels: Float32[np.ndarray, "images height width channels"]  # in 0..1
    errors: Float32[np.ndarray, "images height width"]  # the root of the mean over channels


def compare_step(state: TrainState, images: AnyArray) -> Compared:
    """Embeds and reconstructs images without noise, and compares them with themselves."""
    inputs = to_float(images)
    variables = {"params": state.params}
    vectors = state.apply_fn(variables, inputs, method="encode")
    logits = state.apply_fn(variables, vectors, method="decode")
    pixels = jax.nn.sigmoid(logits)
    errors = jnp.mean((pixels - inputs) ** 2, axis=-1)
    return Compared(vectors, pixels, errors, sigmoid_cross_entropy(logits, inputs))


def measure_step(state: TrainState, images: AnyArray, *, worst: int) -> tuple[Array, ...]:
    """The fields of `Measured`; `worst` is a number of pixels."""
    found = compare_step(state, images)
    errors = found.errors.reshape(len(found.errors), -1)
    largest = jax.lax.top_k(errors, worst)[0]
    return errors.mean(axis=1), largest.mean(axis=1), found.cross_entropy, found.vectors


_measure = jax.jit(measure_step, static_argnames="worst")
_compare = jax.jit(compare_step)


def measure(
    state: TrainState,
    images: Pixels,
    batch_size: int,
    percent: float | int,
    share: Share = WHOLE,
) -> Measured:
    """What scores need of all images; `percent` of each image's pixels are its worst ones.

    Several processes share the batches, and each gets the whole.

    Raises:
        InputError: a number is not finite; the message names the first such image.
    """
    worst = worst_count(images.shape[1] * images.shape[2], percent)

    def step(state: TrainState, batch: Batch) -> tuple[Array, ...]:
        return _measure(state, batch.images, worst=worst)

    measured = Measured(*of_each_example(step, state, Split(images), batch_size, share))
    _refuse_non_finite(measured)
    return measured


def worst_count(pixels: int, percent: float | int) -> int:
    """The number of pixels that `percent` of them are, rounded up, so that it is at least one."""
    return min(pixels, math.ceil(pixels * percent / 100))


def error_maps(state: TrainState, images: Pixels, batch_size: int) -> Maps:
    """The reconstructions of images in memory, and the errors of their pixels."""
    parts = []
    for first in range(0, len(images), batch_size):
        part = images[first : first + batch_size]
        found = jax.device_get(_compare(state, padded(part, batch_size)))
        parts.append((found.pixels[: len(part)], np.sqrt(found.errors[: len(part)])))
    pixels, errors = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Maps(pixels, errors)


def every_error(
    state: TrainState, images: Pixels, batch_size: int, share: Share = WHOLE
) -> Float32[np.ndarray, "images height width"]:
    """`Maps.errors` of all images, which several processes share and each gets."""

    def step(state: TrainState, batch: Batch) -> tuple[Array]:
        return (_compare(state, batch.images).errors,)

    (errors,) = of_each_example(step, state, Split(images), batch_size, share)
    return np.sqrt(errors)


def _refuse_non_finite(measured: Measured) -> None:
    finite = np.isfinite(np.column_stack(measured)).all(axis=1)
    if not finite.all():
        raise InputError(
            f"image {int(finite.argmin())} has a score or an embedding that is not finite: try "
            "another --checkpoint, or train again with a smaller --learning-rate"
        )
