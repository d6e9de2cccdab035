"""Reconstructions of a few examples, to be drawn."""

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import UInt8

from flaxae.data.batches import Batch
from flaxae.data.images import to_bytes
from flaxae.training.state import Rng
from flaxae.training.step import reconstruct_step

Pictures = UInt8[np.ndarray, "examples height width channels"]

# Jitted, because compiling one operation at a time takes seconds.
_jitted_reconstruct_step = jax.jit(reconstruct_step, static_argnames="noise_factor")


def reconstruction_rows(
    state: TrainState, batch: Batch, rng: Rng, noise_factor: float
) -> dict[str, Pictures]:
    """The rows of a picture: input, noisy input if there is noise, and reconstruction."""
    noisy, logits = _jitted_reconstruct_step(state, batch, rng, noise_factor=noise_factor)
    between = {"noisy": _to_bytes(noisy)} if noise_factor else {}
    return {
        "input": to_bytes(batch.images, "images"),
        **between,
        "reconstruction": _to_bytes(jax.nn.sigmoid(logits)),
    }


def _to_bytes(pixels: jax.Array) -> Pictures:
    return np.asarray(pixels * 255).round().astype(np.uint8)
