"""The recorder of reconstructions: a picture after each epoch, and their animation at the end."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from flaxae.data.atomic import write_atomically
from flaxae.data.batches import pick_batch
from flaxae.evaluation.reconstruction import reconstruction_rows
from flaxae.report.figures import animation, png, reconstruction_grid
from flaxae.runs.disk_faults import goes_on_without, reason, warn
from flaxae.runs.workdir import RECONSTRUCTIONS
from flaxae.training.loop import View

_EXAMPLES = 10  # of the test split
_MOST_PIXELS = 50_000_000  # of a picture; Pillow warns of more
# Pillow raises each of these for some damaged file, or for one of very many pixels.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Pictures:
    """Writes epoch_NNNN.png, and animation.webp when training has finished."""

    def __init__(self, workdir: Path) -> None:
        self._folder = workdir / RECONSTRUCTIONS
        self.latest: Image.Image | None = None

    def on_epoch(self, view: View) -> None:
        """Draws ten test images above their reconstructions."""
        task = view.task
        batch = pick_batch(task.splits["test"], _EXAMPLES)
        noise_factor = view.config.objective.noise_factor
        rows = reconstruction_rows(view.evaluated, batch, task.rngs.evaluate, noise_factor)
        loss = view.record["validation_loss"]
        self.latest = reconstruction_grid(rows, f"epoch {view.epoch}, validation loss {loss:.4f}")
        path = self._folder / f"epoch_{view.epoch:04d}.png"
        with goes_on_without(f"the picture of epoch {view.epoch}"):
            self._folder.mkdir(exist_ok=True)
            write_atomically(path, png(self.latest))

    def on_end(self, view: View) -> None:
        """Makes the animation of all epochs whose picture can be read."""
        pictures = []
        if view.status == "finished":
            pictures = [*epoch_pictures(self._folder, "the animation").values()]
        if pictures:
            with goes_on_without("the animation"):
                write_atomically(self._folder / "animation.webp", animation(pictures))


def epoch_pictures(folder: Path, what: str, most: int | None = None) -> dict[int, Image.Image]:
    """The pictures in a folder by epoch, or `most` of them, the first and the last among them.

    Those that cannot be read are left out, which is said; `what` goes without them.
    """
    paths = {int(path.stem[6:]): path for path in folder.glob("epoch_*.png") if _is_epoch(path)}
    epochs = sorted(paths)
    if most is not None and len(epochs) > most:
        places = np.linspace(0, len(epochs) - 1, most).round().astype(int)
        epochs = [epochs[place] for place in places]
    found = {epoch: _read(paths[epoch], what) for epoch in epochs}
    return {epoch: picture for epoch, picture in found.items() if picture is not None}


def _is_epoch(path: Path) -> bool:
    return path.stem[6:].isdecimal()


def _read(path: Path, what: str) -> Image.Image | None:
    """A picture; None if it is damaged, which is said."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels")
            return picture.convert("RGB")
    except _UNREADABLE as error:
        warn(f"{path} cannot be read ({reason(error)}); {what} goes without it")
        return None
