"""What scores compare with, kept in a run's folder: a file for each checkpoint."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from flaxae.data.atomic import write_atomically
from flaxae.evaluation.scoring.scores import Measured

REFERENCE = "reference"


class Kept(NamedTuple):
    """What is normal, as arrays that need no dataset."""

    vectors: Float32[np.ndarray, "training dimensions"]  # embeddings of training images
    held_out: Measured
    scale: float  # of error maps: the error that gets the brightest color


def reference_path(workdir: Path, step: int, percent: float) -> Path:
    """The file for a checkpoint and a percentage of worst pixels."""
    return workdir / REFERENCE / f"{step}-{percent:g}.npz"


def read_reference(path: Path) -> Kept | None:
    """What the file holds; None if there is none, or none that is whole: it can be made anew."""
    names = ("vectors", "scale", *(f"held_out.{name}" for name in Measured._fields))
    try:
        content = io.BytesIO(path.read_bytes())
        if not zipfile.is_zipfile(content):  # on which `numpy.load` leaves an open file behind
            return None
        content.seek(0)
        with np.load(content, allow_pickle=False) as file:
            values = {name: file[name] for name in names}  # each has a checksum
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    held_out = Measured(*(values[f"held_out.{name}"] for name in Measured._fields))
    return Kept(values["vectors"], held_out, float(values["scale"]))


def write_reference(path: Path, kept: Kept) -> None:
    """Writes the file, which is complete or absent; raises OSError."""
    buffer = io.BytesIO()
    held_out = {f"held_out.{name}": values for name, values in kept.held_out._asdict().items()}
    np.savez(buffer, vectors=kept.vectors, scale=np.float64(kept.scale), **held_out)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, buffer.getvalue())
