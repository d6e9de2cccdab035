"""Checkpoints of a run, through Orbax: the newest two and the best by validation loss.

Orbax does not detect flipped bytes in array data. So every complete checkpoint is sealed with the
sha256 of its files, and a checkpoint is restored only if its files still have these.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.training.train_state import TrainState

from flaxae.config import TrainConfig
from flaxae.config.serialization import to_json
from flaxae.errors import InputError, RunError
from flaxae.runs.workdir import write_atomically
from flaxae.training.epoch import EpochSums
from flaxae.training.loop import View
from flaxae.training.state import named_leaves

# The import of Orbax logs, and so gives the root logger a handler, which belongs to the caller.
_handlers = list(logging.root.handlers)
from orbax.checkpoint import v1 as ocp  # noqa: E402

logging.root.handlers[:] = _handlers

_SEAL = "flaxae_sha256.json"
# Orbax numbers its operations in one counter for the whole process, so that a save which starts
# while another one is written breaks both. Runs in several threads take turns.
_turn = threading.Lock()
_last_save: list[Any] = []  # the future of the save that started last, if there was one
_policies: Any = ocp.training.preservation_policies


class Progress(NamedTuple):
    """Where in the run a checkpoint was taken."""

    epoch: int  # epochs completed
    sums: EpochSums = EpochSums()  # of the epoch under way, if there was one


class Restored(NamedTuple):
    """A state as a checkpoint held it, and where in the run that was."""

    state: TrainState
    progress: Progress


class Checkpoints:
    """The checkpoints in one folder, and the callback that saves them; see `open_checkpoints`."""

    def __init__(
        self, checkpointer: ocp.training.Checkpointer, config: TrainConfig, writing: bool
    ) -> None:
        self._checkpointer = checkpointer
        self._config = config
        self._writing = writing
        self._being_written: tuple[int, Any] | None = None  # a step, and Orbax's future

    def on_epoch(self, view: View) -> None:
        """Saves an epoch's state."""
        self.save(view.state, Progress(view.epoch), float(view.record["validation_loss"]))

    def on_end(self, view: View) -> None:
        """Saves the steps of an epoch that was stopped."""
        if view.status == "stopped" and view.sums.steps:
            self.save(view.state, Progress(view.epoch, view.sums), None)

    def save(self, state: TrainState, progress: Progress, validation_loss: float | None) -> None:
        """Starts writing a checkpoint and returns; one without a loss is never the best.

        Raises:
            RunError: this checkpoint, or the one before, cannot be written.
        """
        self.finish()
        step = int(state.step)
        if step in self.steps():
            return
        metadata = {
            "config": json.loads(to_json(self._config)),
            "progress": {"epoch": progress.epoch, "sums": _flat(progress.sums)},
            "devices": jax.device_count(),
        }
        metrics: Any = None if validation_loss is None else {"validation_loss": validation_loss}
        with _one_line(step), _in_turn():
            future = self._checkpointer.save_async(
                step, _arrays(state), force=True, metrics=metrics, custom_metadata=metadata
            )
            _last_save[:] = [future]
        self._being_written = (step, future)

    def finish(self) -> None:
        """Waits for the checkpoint that is being written, if there is one, and seals it.

        Raises:
            RunError: it cannot be written.
        """
        if self._being_written is not None:
            step, future = self._being_written
            self._being_written = None
            with _one_line(step):
                future.result()
                folder = self._folder(step)
                write_atomically(folder / _SEAL, json.dumps(_file_hashes(folder)).encode())

    def steps(self) -> list[int]:
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def restore(self, target: TrainState, which: str | int = "latest") -> Restored | None:
        """A checkpoint in the shape of `target`: "latest", "best", or of one step; None if none.

        A damaged checkpoint is moved away, with a message on stderr, and the next one is taken.

        Raises:
            InputError: there is no checkpoint of that step, or it is of another model.
        """
        for step in self._candidates(which):
            restored = self._restore_step(target, step)
            if restored is not None:
                return restored
            self._set_aside(step)
            if isinstance(which, int):
                raise InputError(f"the checkpoint of step {which} is damaged; ask for another")
        return None

    def _candidates(self, which: str | int) -> list[int]:
        steps = sorted(self.steps(), reverse=True)
        if which == "latest":
            return steps
        if which == "best":
            losses = self._losses()
            return sorted(losses, key=losses.__getitem__) or steps
        if which not in steps:
            there = ", ".join(map(str, sorted(steps))) or "none"
            raise InputError(f"there is no checkpoint of step {which}; there are: {there}")
        return [int(which)]

    def _losses(self) -> dict[int, float]:
        metrics: dict[int, Any] = {c.step: c.metrics for c in self._checkpointer.checkpoints}
        return {step: known["validation_loss"] for step, known in metrics.items() if known}

    def _restore_step(self, target: TrainState, step: int) -> Restored | None:
        sealed = _fits_seal(self._folder(step))
        if sealed is False:
            return None
        try:
            with _in_turn():
                stored = self._checkpointer.metadata(step)
                mismatch = _first_mismatch(stored.metadata, _arrays(target))
                if mismatch:
                    raise InputError(f"checkpoint {step} is of another model: {mismatch}")
                abstract = jax.tree.map(_abstract, _arrays(target))
                arrays = self._checkpointer.load(step, abstract)
        except InputError:
            raise
        except Exception as error:  # Orbax and TensorStore have no common error class
            if not sealed:
                return None
            reason = str(error).splitlines()[0][:300]
            raise RunError(f"checkpoint {step} is whole but cannot be read: {reason}") from error
        metadata: Any = stored.custom_metadata
        progress = metadata["progress"]
        sums = _from_flat(progress["sums"])
        return Restored(target.replace(**arrays), Progress(progress["epoch"], sums))

    def _folder(self, step: int) -> Path:
        return Path(self._checkpointer.directory) / str(step)

    def _set_aside(self, step: int) -> None:
        folder = Path(self._checkpointer.directory)
        damaged = folder.with_name(f"{folder.name}-damaged") / str(step)
        if self._writing:
            shutil.rmtree(damaged, ignore_errors=True)
            damaged.parent.mkdir(exist_ok=True)
            self._folder(step).rename(damaged)
        where = f"moved to {damaged}" if self._writing else "passed over"
        print(f"checkpoint {step} is damaged; {where}", file=sys.stderr)


@contextlib.contextmanager
def open_checkpoints(
    folder: Path, config: TrainConfig, writing: bool = True
) -> Iterator[Checkpoints]:
    """The checkpoints in `folder`; leaving the block waits until the last one is written.

    Without `writing`, nothing in the folder is changed, so that a run can be read while it trains.
    """
    policy = _policies.AnyPreservationPolicy(
        [
            _policies.LatestN(2),
            _policies.BestN(
                get_metric_fn=lambda metrics: -metrics["validation_loss"],
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
        ]
    )
    with _silent_log():
        checkpointer = ocp.training.Checkpointer(
            str(folder.absolute()), preservation_policy=policy, cleanup_tmp_directories=writing
        )
        checkpoints = Checkpoints(checkpointer, config, writing)
        try:
            yield checkpoints
            checkpoints.finish()
        except BaseException:
            with contextlib.suppress(Exception):  # it raises again what a save raised before
                checkpointer.close()
            raise
        checkpointer.close()


@contextlib.contextmanager
def _silent_log() -> Iterator[None]:
    """Turns off Orbax's log: it has a traceback of every error that we raise as one line.

    Orbax also logs to the root logger, and so gives it a handler, which is removed again.
    """
    log, silence = logging.getLogger("absl"), logging.Filter(name="nothing has this name")
    handlers = list(logging.root.handlers)
    log.addFilter(silence)  # and not a level, because several runs may be open at once
    try:
        yield
    finally:
        log.removeFilter(silence)
        logging.root.handlers[:] = [h for h in logging.root.handlers if h in handlers]


@contextlib.contextmanager
def _in_turn() -> Iterator[None]:
    """Waits until no other operation of Orbax is under way in this process."""
    with _turn:
        for future in _last_save:
            with contextlib.suppress(Exception):  # its own run raises it
                future.result()
        yield


@contextlib.contextmanager
def _one_line(step: int) -> Iterator[None]:
    """Turns errors of Orbax and TensorStore, which are pages long, into one line."""
    try:
        yield
    except Exception as error:
        reason = "the disk is full" if "RESOURCE_EXHAUSTED" in str(error) else str(error)
        first = reason.splitlines()[0][:300]
        raise RunError(f"the checkpoint of step {step} cannot be written: {first}") from error


def _flat(sums: EpochSums) -> dict[str, float]:
    """The sums as flaxae has always stored them: the number of steps among the totals."""
    return {**sums.totals, "steps": sums.steps} if sums.steps else {}


def _from_flat(values: dict[str, float]) -> EpochSums:
    totals = {name: float(value) for name, value in values.items() if name != "steps"}
    return EpochSums(totals, int(values.get("steps", 0)))


def _file_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder` but the seal itself, by relative path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _SEAL]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _fits_seal(folder: Path) -> bool | None:
    """Whether the files are those that were sealed; None if a kill came before the seal."""
    try:
        return json.loads((folder / _SEAL).read_text()) == _file_hashes(folder)
    except FileNotFoundError:
        return None
    except ValueError:
        return False


def _first_mismatch(stored: Any, arrays: dict[str, Any]) -> str | None:
    there, here = named_leaves(stored["params"]), named_leaves(arrays["params"])
    for name in sorted(set(there) | set(here)):
        shapes = [tuple(side[name].shape) if name in side else "absent" for side in (there, here)]
        if shapes[0] != shapes[1]:
            return f"{name} is {shapes[0]} there, {shapes[1]} here"
    return None


def _arrays(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = jax.numpy.asarray(leaf)
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
