"""The training step in each framework, from the same weights and images."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Program(NamedTuple):
    """What every framework's `build` returns: a model, its optimizer, and the step."""

    restart: Callable[[], None]  # back to the first weights, with a new optimizer
    to_input: Callable[[np.ndarray], Any]  # uint8 NHWC images as the step takes them
    step: Callable[[Any], Any]  # dispatches one step
    wait: Callable[[Any], float]  # blocks on all steps; the last one's loss in nats a pixel
    logits: Callable[[Any], np.ndarray]  # NHWC, of what `to_input` returns
    device: str  # "cpu", "gpu" or "tpu"
