"""Checkpoints of a run: the newest two and the best by validation loss."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.config import TrainConfig
from flaxae.config.serialization import differences, from_json, to_json
from flaxae.data import seal
from flaxae.errors import InputError, RunError
from flaxae.runs import checkpoint_files as files
from flaxae.runs.disk_faults import reason, warn
from flaxae.runs.saver import Saver, Snapshot
from flaxae.training.epoch import EpochSums
from flaxae.training.loop import Record, View

_NEWEST = 2  # are kept, and the best
_UNKNOWN = -float("inf")
_EVERY = 1.0  # seconds between two looks at the folder


class Progress(NamedTuple):
    """Where in the run a checkpoint was taken."""

    epoch: int  # epochs completed
    sums: EpochSums = EpochSums()  # of the epoch under way, if there was one


class Restored(NamedTuple):
    """A state as a checkpoint held it, and where in the run that was."""

    state: TrainState
    progress: Progress
    history: list[dict[str, Any]] | None = None  # of its epochs; None in one of flaxae 0.1


class NoneWhole(InputError):
    """There are checkpoints, but all are damaged; the message says which."""


class Checkpoints:
    """The checkpoints in one folder, and the callback that saves them; see `open_checkpoints`."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        digest: str | None,
        writing: bool,
        on_saved: Callable[[Sequence[Record]], None],
    ) -> None:
        self._folder = folder
        self._config = config
        self._digest = digest
        self._writing = writing
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
        arrays = jax.tree.map(lambda leaf: np.array(jax.device_get(leaf)), _arrays(state))
        self._saver.start(Snapshot(int(state.step), arrays, metadata))

    def finish(self) -> None:
        """Waits until the last state is written; see `Saver.finish`."""
        self._saver.finish()

    def give_up(self) -> None:
        """Ends a run that has failed; see `Saver.give_up`."""
        self._saver.give_up()

    def steps(self) -> list[int]:
        """The steps of the checkpoints there are, damaged ones included."""
        found = self._folder.iterdir() if self._folder.is_dir() else []
        names = [p.name for p in found if p.name.isascii() and p.name.isdecimal() and p.is_dir()]
        return sorted(int(name) for name in names if str(int(name)) == name)

    def safe(self) -> str:
        """Which step could be restored now, for messages."""
        try:
            sealed = [step for step in self.steps() if files.has_seal(self._path(step))]
        except OSError:
            sealed = []
        return f"step {sealed[-1]} is safe" if sealed else f"no step is safe in {self._folder}"

    def restore(self, target: TrainState, which: str | int = "latest") -> Restored | None:
        """A checkpoint in the shape of `target`: "latest", "best", or of one step.

        A damaged checkpoint is passed over, with a message on stderr; a run that trains moves it
        away, because its step will be saved again. None if there is no checkpoint.

        Raises:
            NoneWhole: all that there are, or the one of that step, are damaged.
            InputError: there is none of that step, or it is of another run.
        """
        damaged: dict[int, str] = {}
        for step in self._candidates(which):
            found = self._restore_step(target, step)
            if isinstance(found, str):
                damaged[step] = found
                continue
            for bad, what in damaged.items():
                self._pass_over(bad, what)
            return found
        if damaged:
            which = ", ".join(f"{step} ({what})" for step, what in damaged.items())
            raise NoneWhole(f"no checkpoint in {self._folder} is whole: {which}")
        return None

    def history(self) -> list[dict[str, Any]] | None:
        """The epochs as the newest checkpoint has them; None if none has."""
        for step in reversed(self.steps()):
            with contextlib.suppress(InputError):
                return files.read_metadata(self._path(step)).get("history")
        return None

    def move_away(self) -> None:
        """Moves all checkpoints away, none of which is whole."""
        for step in self.steps():
            self._pass_over(step, "it is not whole")

    def _candidates(self, which: str | int) -> list[int]:
        """Steps in the order in which they are tried."""
        steps = self.steps()
        if isinstance(which, int):
            if which not in steps:
                there = ", ".join(map(str, steps)) or "none"
                raise InputError(f"there is no checkpoint of step {which}; there are: {there}")
            return [which]
        steps.reverse()
        if which == "best":
            losses = self._losses()
            steps.sort(key=lambda step: losses.get(step, float("inf")))
        return steps

    def _losses(self) -> dict[int, float]:
        """The loss of each checkpoint that has one; a damaged one has the least."""
        losses = {}
        for step in self.steps():
            try:
                loss = files.read_metadata(self._path(step)).get("validation_loss")
            except InputError:
                loss = _UNKNOWN  # it might have been the best, so it is looked at and told
            if loss is not None:
                losses[step] = loss
        return losses

    def _restore_step(self, target: TrainState, step: int) -> Restored | str:
        """The checkpoint, or what is wrong with it."""
        folder = self._path(step)
        what = seal.damage(folder)
        if what is not None:
            return what
        try:
            metadata = files.read_metadata(folder)
            self._require_same_run(step, metadata)
            arrays = files.read_arrays(folder, _arrays(target))
        except InputError:
            raise
        except Exception as error:  # Orbax and TensorStore have no common error class
            if not folder.exists():
                return "it was removed while it was read"
            raise RunError(f"{folder} is whole but cannot be read: {reason(error)}") from error
        progress = metadata["progress"]
        where = Progress(progress["epoch"], _from_flat(progress["sums"]))
        return Restored(target.replace(**arrays), where, metadata.get("history"))

    def _require_same_run(self, step: int, metadata: files.Metadata) -> None:
        """Raises InputError if another run wrote this checkpoint."""
        try:
            written = from_json(json.dumps(metadata["config"]))
        except InputError as error:
            what = f"the config in the checkpoint of step {step} cannot be read"
            raise InputError(f"{what}: {error}") from error
        changed = differences(written, self._config)
        digest = metadata.get("digest")
        if None not in (digest, self._digest) and digest != self._digest:
            changed.append(f"images of sha256 {digest} there, {self._digest} here")
        if changed:
            raise InputError(
                f"the checkpoint of step {step} is of another run: {'; '.join(changed)}; move "
                f"{self._path(step)} away"
            )

    def _path(self, step: int) -> Path:
        return self._folder / str(step)

    def _pass_over(self, step: int, what: str) -> None:
        where = "passed over"
        if self._writing:
            folder = _free(self._folder.with_name(f"{self._folder.name}-damaged") / str(step))
            folder.parent.mkdir(exist_ok=True)
            self._path(step).rename(folder)
            where = f"moved to {folder}"
        warn(f"checkpoint {step} is damaged ({what}); {where}")

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
                files.write(self._path(snapshot.step), snapshot.arrays, snapshot.metadata)
        except Exception:
            self._require_folder()  # the plainer error, where it is the reason
            raise
        self._on_saved(snapshot.metadata["history"])
        self._forget_old()

    def _is_saved(self, snapshot: Snapshot) -> bool:
        folder = self._path(snapshot.step)
        if not files.has_seal(folder):
            return False
        # The step of a run that was stopped in a validation is saved again after the validation.
        return files.read_metadata(folder)["progress"] == snapshot.metadata["progress"]

    def _forget_old(self) -> None:
        losses = self._losses()
        damaged = [step for step, loss in losses.items() if loss == _UNKNOWN]
        best = sorted(sorted(losses.keys() - set(damaged)), key=losses.__getitem__)[:1]
        for step in self.steps()[:-_NEWEST]:
            if step not in (*best, *damaged):
                files.remove(self._path(step))


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


def _free(path: Path) -> Path:
    """The path, with a number if there is something already."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(p for p in numbered if not p.exists())


def _flat(sums: EpochSums) -> dict[str, float]:
    """The sums as flaxae has always stored them: the number of steps among the totals."""
    return {**sums.totals, "steps": sums.steps} if sums.steps else {}


def _from_flat(values: Mapping[str, float]) -> EpochSums:
    totals = {name: float(value) for name, value in values.items() if name != "steps"}
    return EpochSums(totals, int(values.get("steps", 0)))


def _arrays(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}
