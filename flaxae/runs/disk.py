"""What a run needs of its disk: room for its files, and a folder that stays."""

import shutil
from pathlib import Path

import jax

from flaxae.data.file_names import counted
from flaxae.data.sizes import size_text
from flaxae.errors import RunError
from flaxae.report.figures import enlargement
from flaxae.report.terminal import say
from flaxae.runs.workdir import CONFIG
from flaxae.training.loop import View

_CHECKPOINTS = 4  # the newest two, the best, and the one that is being written
_OVERHEAD = 100_000  # bytes of a checkpoint beside its arrays
_EVENTS = 2_000  # bytes an epoch for the histogram of an array, and for its numbers
_COLUMNS, _ROWS = 10, 2  # of a picture


class Disk:
    """Says at the start what the run will need, with `verbose`, and watches the run's folder."""

    def __init__(self, workdir: Path, verbose: bool) -> None:
        self._workdir = workdir
        self._verbose = verbose

    def on_start(self, view: View) -> None:
        """Compares the room with what is free.

        Raises:
            RunError: not even one checkpoint fits.
        """
        if view.epoch >= view.task.epochs:
            return
        free = shutil.disk_usage(self._workdir).free
        arrays = _nbytes(view)
        if free < arrays:
            raise RunError(
                f"the disk of {self._workdir} has {size_text(free)} free, and one checkpoint needs "
                f"{size_text(arrays)}; make room, or give a --workdir on another disk"
            )
        checkpoints = _CHECKPOINTS * (arrays + _OVERHEAD)
        epochs = view.task.epochs - view.epoch
        others = epochs * (2 * _picture(view) + _EVENTS * _array_count(view))
        needed = checkpoints + others
        lacking = f"; only {size_text(free)} are free" if free < needed else ""
        if self._verbose:
            say(
                f"disk      about {size_text(needed)}: checkpoints {size_text(checkpoints)}, "
                f"pictures and events of {counted(epochs, 'epoch')} {size_text(others)}{lacking}"
            )

    def on_epoch(self, view: View) -> None:
        """Raises RunError if somebody has moved or deleted the folder."""
        if not (self._workdir / CONFIG).exists():
            raise RunError(f"{self._workdir} was moved or deleted while its run was training")


def _nbytes(view: View) -> int:
    state = view.state
    return sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))


def _array_count(view: View) -> int:
    return 2 * len(jax.tree.leaves(view.state.params))  # about as many activations


def _picture(view: View) -> int:
    """Bytes of an epoch's picture: half of its pixels' in color, because PNG compresses."""
    height, width, _ = view.task.model.image_shape
    return height * width * enlargement(height, width) ** 2 * 3 * _COLUMNS * _ROWS // 2
