"""What every form of the training step offers to the worker that runs it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Program(NamedTuple):
    """A model with its optimizer, and the step that trains it."""

    restart: Callable[[], None]  # back to the first weights, with a fresh optimizer
    to_input: Callable[[np.ndarray], Any]  # uint8 NHWC images as the step takes them
    step: Callable[[Any], Any]  # dispatches one step
    wait: Callable[[Any], float]  # for everything dispatched; the last step's loss, nats a pixel
    device: str  # "cpu", "gpu" or "tpu"
    versions: dict[str, str]
