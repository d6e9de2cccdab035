"""The recorder of reconstructions: a picture after each epoch, and their animation at the end."""

from pathlib import Path

from PIL import Image

from flaxae.data.batches import pick_batch
from flaxae.evaluation.reconstruction import reconstruction_rows
from flaxae.report.figures import animation, png, reconstruction_grid
from flaxae.runs.workdir import RECONSTRUCTIONS, write_atomically
from flaxae.training.loop import View

_EXAMPLES = 10  # of the test split


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
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"epoch_{view.epoch:04d}.png"
        write_atomically(path, png(self.latest))

    def on_end(self, view: View) -> None:
        """Makes the animation of all epochs."""
        frames = sorted(self._folder.glob("epoch_*.png")) if view.status == "finished" else []
        if frames:
            pictures = [Image.open(path).convert("RGB") for path in frames]
            write_atomically(self._folder / "animation.webp", animation(pictures))
