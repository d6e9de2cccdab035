"""What a trained model computes, with programs that are compiled when they are first needed."""

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Float32

from flaxae.api.together import require_same_weights
from flaxae.config import TrainConfig
from flaxae.data.batches import padded, pick_batch
from flaxae.data.splits import Shape, Split
from flaxae.evaluation.dead_units import dead_units
from flaxae.evaluation.embedding import Embedding, embed_images
from flaxae.evaluation.inspection import InspectStep
from flaxae.evaluation.reconstruction import reconstruction_rows
from flaxae.models.autoencoder import Autoencoder
from flaxae.objectives import MEASURES
from flaxae.training import processes
from flaxae.training.devices import Placement, place
from flaxae.training.state import make_rngs
from flaxae.training.step import embed_step, inspect_step, to_float
from flaxae.training.validation import EvalStep, evaluate, make_eval_step

Floats = Float32[np.ndarray, "..."]


class Programs:
    """The model of a run with its weights; images are [N, H, W, C], checked already."""

    def __init__(
        self, config: TrainConfig, model: Autoencoder, state: TrainState, image_shape: Shape
    ) -> None:
        self.state = state
        self.batch_size = config.optimizer.batch_size
        self._config = config
        self._model = model
        self._image_shape = image_shape
        self._rngs = make_rngs(config.seed)

    @cached_property
    def dimensions(self) -> int:
        """Numbers in the embedding of an image."""
        image = jax.ShapeDtypeStruct((1, *self._image_shape), np.float32)
        return jax.eval_shape(self._encode, image).shape[1]

    @cached_property
    def placement(self) -> Placement:
        """All devices here, because the run may have been trained on another machine."""
        config = self._config
        device = dataclasses.replace(config.device, devices=None)
        return place(config.model, config.compute, device, self._image_shape)

    @cached_property
    def inspect(self) -> InspectStep:
        """The program that gives everything about a batch."""
        return jax.jit(inspect_step)

    def encode(self, images: np.ndarray) -> Floats:
        """The embeddings [N, dimensions]."""
        return _in_batches(self._encode, images, self.batch_size)

    def decode(self, embedding: np.ndarray) -> Floats:
        """The images of embeddings, pixels in 0..1."""
        return _in_batches(self._decode, embedding, self.batch_size)

    def reconstruct(self, images: np.ndarray) -> Floats:
        """The reconstructions, pixels in 0..1."""
        return _in_batches(self._reconstruct, images, self.batch_size)

    def evaluate(self, part: Split) -> dict[str, Any]:
        """The means of the objective and of all measures; every process computes its share."""
        require_same_weights(int(self.state.step), part)
        step, state = self._eval_step
        rng, share = self._rngs.evaluate, self.placement.share
        return evaluate(step, state, part, self.batch_size, rng, _next_images, share)

    def embed(self, part: Split) -> Embedding:
        """The vectors and errors of all images; every process computes its share."""
        require_same_weights(int(self.state.step), part)
        step, share = jax.jit(embed_step), self.placement.share
        return embed_images(step, self.state, part, self.batch_size, share)

    def dead_units(self, part: Split) -> dict[str, int]:
        """How many units of each hidden layer give the same number for all images."""
        return dead_units(self.state, part, self.batch_size, self._config.compute.layout)

    def example_rows(self, part: Split, examples: int) -> dict[str, np.ndarray]:
        """Some images, equally many of each class, and their reconstructions."""
        noise_factor = self._config.objective.noise_factor
        batch = pick_batch(part, examples)
        return reconstruction_rows(self.state, batch, self._rngs.evaluate, noise_factor)

    @cached_property
    def _eval_step(self) -> tuple[EvalStep, TrainState]:
        """The compiled evaluation, and the state where it is computed."""
        step = make_eval_step(self._config.objective, self.placement, tuple(MEASURES))
        return step, self.placement.replicate(self.state)

    @cached_property
    def _encode(self) -> Callable[[Any], jax.Array]:
        apply: Any = partial(self._model.apply, method="encode")
        return self._compiled(lambda params, images: apply({"params": params}, to_float(images)))

    @cached_property
    def _decode(self) -> Callable[[Any], jax.Array]:
        apply: Any = partial(self._model.apply, method="decode")
        return self._compiled(lambda params, x: jax.nn.sigmoid(apply({"params": params}, x)))

    @cached_property
    def _reconstruct(self) -> Callable[[Any], jax.Array]:
        apply: Any = self._model.apply
        return self._compiled(
            lambda params, x: jax.nn.sigmoid(apply({"params": params}, to_float(x)))
        )

    def _compiled(self, function: Callable[[Any, Any], jax.Array]) -> Callable[[Any], jax.Array]:
        """The weights are an argument, so that a kept program serves those of other runs too."""
        return partial(jax.jit(function), self.state.params)


def _next_images() -> None:
    """A meeting of all processes, which names one that hangs; the sum over all would not."""
    processes.gather("the next images")


def _in_batches(function: Callable[[Any], jax.Array], array: np.ndarray, size: int) -> Floats:
    """`function` over the rows of `array`, at most `size` at a time.

    The last part is padded to a power of two, so that few different sizes are compiled.
    """
    parts = []
    for first in range(0, max(len(array), 1), size):
        part = array[first : first + size]
        length = min(size, 1 << max(len(part) - 1, 0).bit_length())
        parts.append(np.asarray(function(padded(part, length)))[: len(part)])
    return np.concatenate(parts)
