"""Units of hidden layers that say nothing about the image."""

from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.data.batches import evaluation_batches
from flaxae.data.splits import Split
from flaxae.training.state import named_leaves
from flaxae.training.step import activations

_SPREAD = 1e-6  # of a unit's activations, below which it is dead
_OUTPUT = "decoder/pixels/activation"  # of the fully connected model; no hidden layer

_jitted_activations = jax.jit(activations)


def dead_units(state: TrainState, split: Split, batch_size: int, layout: str) -> dict[str, int]:
    """The number of units of each hidden layer whose activations are the same for all images.

    The embedding is a hidden layer too. Of fewer than two images the number tells little: with
    one, all units of dense layers are counted.
    """
    lowest: dict[str, Any] = {}
    highest: dict[str, Any] = {}
    for batch in evaluation_batches(split, min(batch_size, len(split.images))):
        for name, values in named_leaves(_jitted_activations(state, batch.images)).items():
            if name == _OUTPUT:
                continue
            inside = np.asarray(values)[np.asarray(batch.mask)]
            channel = layout.index("C") if inside.ndim == 4 else inside.ndim - 1
            others = tuple(axis for axis in range(inside.ndim) if axis != channel)
            low, high = inside.min(axis=others), inside.max(axis=others)
            lowest[name] = np.minimum(lowest.get(name, low), low)
            highest[name] = np.maximum(highest.get(name, high), high)
    return {name: int((highest[name] - low < _SPREAD).sum()) for name, low in lowest.items()}
