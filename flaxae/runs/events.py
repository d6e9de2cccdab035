"""The recorder of TensorBoard's events: scalars, pictures and histograms."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from flaxae.runs.pictures import Pictures
from flaxae.training.loop import View

Arrays = Mapping[str, jax.Array | np.ndarray]

_BINS = 64


class Events:
    """Writes an event file in the run's folder; `pictures` has drawn the epoch's picture."""

    def __init__(self, workdir: Path, pictures: Pictures | None = None) -> None:
        self._workdir = workdir
        self._pictures = pictures
        self._writer: SummaryWriter | None = None

    def on_start(self, view: View) -> None:
        """Opens the file."""
        # `purge_step` hides what an earlier start wrote after its last checkpoint. The suffix
        # keeps two starts in one second from sharing a file.
        self._writer = SummaryWriter(
            str(self._workdir), purge_step=view.step + 1, filename_suffix=f".{view.step + 1}"
        )

    def on_epoch(self, view: View) -> None:
        """Writes the epoch's numbers, picture and histograms."""
        assert self._writer is not None, "on_start comes first"
        picture = self._pictures.latest if self._pictures else None
        write_epoch(
            self._writer, view.step, view.record, picture, view.parameters, view.activations
        )

    def on_end(self, view: View) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


def write_epoch(
    writer: SummaryWriter,
    step: int,
    record: Mapping[str, int | float],
    picture: Image.Image | None,
    parameters: Arrays,
    activations: Arrays,
) -> None:
    """Scalars, picture, histograms, and the fraction of zeros in each activation."""
    for name, value in record.items():
        writer.add_scalar(name, value, step)
    if picture is not None:
        writer.add_image("reconstructions", np.asarray(picture), step, dataformats="HWC")
    for name, array in parameters.items():
        _histogram(writer, f"parameters/{name}", array, step)
    for name, array in activations.items():
        _histogram(writer, name, array, step)
        zeros = float(np.mean(np.asarray(array) == 0))
        writer.add_scalar(f"fraction_of_zeros/{name}", zeros, step)
    writer.flush()


def _histogram(writer: SummaryWriter, name: str, array: jax.Array | np.ndarray, step: int) -> None:
    values = np.asarray(array, np.float32).ravel()
    # NumPy takes a number of bins; tensorboardX annotates only names of rules for it.
    writer.add_histogram(name, values, step, bins=_BINS)  # pyright: ignore
