"""TensorBoard events of a run: scalars, pictures, and histograms of weights and activations."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

Arrays = Mapping[str, jax.Array | np.ndarray]

_BINS = 64


class EventLog:
    """An event file in the run's folder; a context manager that flushes when left."""

    def __init__(self, workdir: Path, next_step: int) -> None:
        # What an earlier start wrote past its last checkpoint is hidden, from `next_step` on. The
        # suffix keeps two starts in one second from sharing a file.
        self._writer = SummaryWriter(
            str(workdir), purge_step=next_step, filename_suffix=f".{next_step}"
        )

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._writer.close()

    def epoch(
        self,
        step: int,
        record: Mapping[str, int | float],
        picture: Image.Image,
        parameters: Arrays,
        activations: Arrays,
    ) -> None:
        """What the original logged: scalars, picture, histograms, fractions of silent units."""
        for name, value in record.items():
            self._writer.add_scalar(name, value, step)
        self._writer.add_image("reconstructions", np.asarray(picture), step, dataformats="HWC")
        for name, array in parameters.items():
            self._histogram(f"parameters/{name}", array, step)
        for name, array in activations.items():
            self._histogram(name, array, step)
            zeros = float(np.mean(np.asarray(array) == 0))
            self._writer.add_scalar(f"fraction_of_zeros/{name}", zeros, step)
        self._writer.flush()

    def _histogram(self, name: str, array: jax.Array | np.ndarray, step: int) -> None:
        values = np.asarray(array, np.float32).ravel()
        # NumPy takes a number of bins; tensorboardX annotates only names of rules for it.
        self._writer.add_histogram(name, values, step, bins=_BINS)  # pyright: ignore
