"""Checkpoints of a run: the newest two and the best by validation loss."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.config import TrainConfig
from flaxae.config.serialization import to_json
from flaxae.errors import RunError
from flaxae.runs import checkpoint_files as files
from flaxae.runs.checkpoint_folder import UNKNOWN, CheckpointFolder, Progress, saved_arrays
from flaxae.runs.disk_faults import reason
from flaxae.runs.saver import Saver, Snapshot
from flaxae.training.epoch import EpochSums
from flaxae.training.loop import Record, View

_NEWEST = 2  # are kept, and the best
_EVERY = 1.0  # seconds between two looks at the folder


class Checkpoints(CheckpointFolder):
    """The checkpoints in one folder, and the callback that saves them; see `open_checkpoints`."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        digest: str | None,
        writing: bool,
        on_saved: Callable[[Sequence[Record]], None],
    ) -> None:
        super().__init__(folder, config, digest, writing)
        self._on_saved = on_saved
        self._saver = Saver(self._write, folder, 60 * config.full_disk_minutes)
        self._inode: int | None = None  # of the folder, once it is known to be writable
        self._looked = 0.0

    def on_start(self, view: View) -> None:
        """Finds out whether checkpoints can be written, before anything is computed.

        Raises:
            RunError: they cannot.
        """
        if view.epoch < view.task.epochs:
            self._make_ready()

    def on_call(self, view: View) -> None:
        """Tells of a save that failed, and of a folder that is gone.

        Raises:
            RunError: waiting does not help.
        """
        self._saver.poll()
        if self._inode is not None and time.monotonic() - self._looked > _EVERY:
            self._looked = time.monotonic()
            self._require_folder()

    def on_epoch(self, view: View) -> None:
        """Saves an epoch's state."""
        loss = float(view.record["validation_loss"])
        self.save(view.state, Progress(view.epoch), loss, view.history)

    def on_end(self, view: View) -> None:
        """Saves the steps of an epoch that was stopped, and waits until all is written."""
        if view.status == "stopped" and view.sums.steps:
            self.save(view.state, Progress(view.epoch, view.sums), None, view.history)
        if view.status != "failed":
            self._saver.finish()

    def save(
        self,
        state: TrainState,
        progress: Progress,
        validation_loss: float | None,
        history: Sequence[Record] = (),
    ) -> None:
        """Starts writing a checkpoint and returns; one without a loss is never the best.

        Raises:
            RunError: this checkpoint, or the one before, cannot be written.
        """
        self._saver.wait()
        self._make_ready()
        self._require_folder()
        metadata: files.Metadata = {
            "config": json.loads(to_json(self._config)),
            "progress": {"epoch": progress.epoch, "sums": _flat(progress.sums)},
            "digest": self._digest,
            "validation_loss": validation_loss,
            "history": [dict(record) for record in history],
        }
        # Copies, because training goes on in the same buffers.
        arrays = jax.tree.map(lambda leaf: np.array(jax.device_get(leaf)), saved_arrays(state))
        self._saver.start(Snapshot(int(state.step), arrays, metadata))

    def finish(self) -> None:
        """Waits until the last state is written; see `Saver.finish`."""
        self._saver.finish()

    def give_up(self) -> None:
        """Ends a run that has failed; see `Saver.give_up`."""
        self._saver.give_up()

    def _make_ready(self) -> None:
        """Makes the folder, and a file in it; raises RunError if that is not possible."""
        if self._inode is not None:
            return
        probe = self._folder / f".probe-{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files.remove_unfinished(self._folder)
            probe.touch()
            probe.unlink()
            self._inode = self._folder.stat().st_ino
        except OSError as error:
            raise RunError(f"{self._folder} cannot be written: {reason(error)}") from error

    def _require_folder(self) -> None:
        """Raises RunError if the folder was moved, deleted or forbidden."""
        # Orbax makes the folder again if it is taken away during a save.
        if not self._folder.is_dir() or self._folder.stat().st_ino != self._inode:
            raise RunError(f"{self._folder} was moved or deleted while its run was training")
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise RunError(f"{self._folder} cannot be written any more: forbidden or read-only")

    def _write(self, snapshot: Snapshot) -> None:
        """Writes a checkpoint, then what follows from it; called in the saver's thread."""
        try:
            if not self._is_saved(snapshot):
                files.write(self.path(snapshot.step), snapshot.arrays, snapshot.metadata)
        except Exception:
            self._require_folder()  # the plainer error, where it is the reason
            raise
        self._on_saved(snapshot.metadata["history"])
        self._forget_old()

    def _is_saved(self, snapshot: Snapshot) -> bool:
        folder = self.path(snapshot.step)
        if not files.has_seal(folder):
            return False
        # The step of a run that was stopped in a validation is saved again after the validation.
        return files.read_metadata(folder)["progress"] == snapshot.metadata["progress"]

    def _forget_old(self) -> None:
        losses = self.losses()
        damaged = [step for step, loss in losses.items() if loss == UNKNOWN]
        best = sorted(sorted(losses.keys() - set(damaged)), key=losses.__getitem__)[:1]
        for step in self.steps()[:-_NEWEST]:
            if step not in (*best, *damaged):
                files.remove(self.path(step))


@contextlib.contextmanager
def open_checkpoints(
    folder: Path,
    config: TrainConfig,
    writing: bool = True,
    digest: str | None = None,
    on_saved: Callable[[Sequence[Record]], None] = lambda history: None,
) -> Iterator[Checkpoints]:
    """The checkpoints in `folder`; leaving the block waits until the last one is written.

    Without `writing`, nothing in the folder is changed, so that a run can be read while it trains.
    After each checkpoint, `on_saved` gets the epochs that it holds. A RunError in the block gets
    the step that is safe added to its message.
    """
    checkpoints = Checkpoints(folder.absolute(), config, digest, writing, on_saved)
    if writing:
        files.finish_replacements(folder.absolute())
    try:
        yield checkpoints
        checkpoints.finish()
    except RunError as error:
        checkpoints.give_up()
        raise RunError(f"{error}; {checkpoints.safe()}") from error
    except BaseException:
        checkpoints.give_up()
        raise


def _flat(sums: EpochSums) -> dict[str, float]:
    """The sums as flaxae has always stored them: the number of steps among the totals."""
    return {**sums.totals, "steps": sums.steps} if sums.steps else {}
