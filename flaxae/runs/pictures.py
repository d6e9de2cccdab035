"""The recorder of reconstructions: a picture after each epoch, and their animation at the end."""

import struct
import zlib
from pathlib import Path

from PIL import Image

from flaxae.data.batches import pick_batch
from flaxae.evaluation.reconstruction import reconstruction_rows
from flaxae.report.figures import animation, png, reconstruction_grid
from flaxae.runs.disk_faults import goes_on_without, reason, warn
from flaxae.runs.workdir import RECONSTRUCTIONS, write_atomically
from flaxae.training.loop import View

_EXAMPLES = 10  # of the test split
_MOST_PIXELS = 50_000_000  # of a picture; Pillow warns of more


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
        paths = sorted(self._folder.glob("epoch_*.png")) if view.status == "finished" else []
        pictures = [picture for path in paths if (picture := _read(path)) is not None]
        if pictures:
            with goes_on_without("the animation"):
                write_atomically(self._folder / "animation.webp", animation(pictures))


def _read(path: Path) -> Image.Image | None:
    """A picture; None if it is damaged, which is said."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise ValueError(f"{picture.width}x{picture.height} pixels")
            return picture.convert("RGB")
    # Pillow raises each of these for some damaged file.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        warn(f"{path} cannot be read ({reason(error)}); the animation goes without it")
        return None
