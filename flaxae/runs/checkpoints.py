"""Checkpoints of a run, through Orbax: the newest two and the best by validation loss.

Orbax does not notice flipped bytes in array data, so every finished checkpoint is sealed with the
sha256 of its files, and only one that still fits its seal is restored.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from flax.training.train_state import TrainState
from orbax.checkpoint import v1 as ocp

from flaxae.config import TrainConfig
from flaxae.errors import InputError, RunError
from flaxae.runs.workdir import write_atomically
from flaxae.training.step import named_leaves

_SEAL = "flaxae_sha256.json"
_policies: Any = ocp.training.preservation_policies


class Progress(NamedTuple):
    """Where in the run a checkpoint was taken."""

    epoch: int  # epochs completed
    sums: Mapping[str, Any] = MappingProxyType({})  # of the epoch that was under way, if one was


class Restored(NamedTuple):
    """A state as a checkpoint held it, and where in the run that was."""

    state: TrainState
    progress: Progress


class Checkpoints:
    """The checkpoints in one folder; made by `open_checkpoints`."""

    def __init__(
        self, checkpointer: ocp.training.Checkpointer, config: TrainConfig, writing: bool
    ) -> None:
        self._checkpointer = checkpointer
        self._config = config
        self._writing = writing
        self._being_written: tuple[int, Any] | None = None  # a step, and Orbax's promise

    def save(self, state: TrainState, progress: Progress, validation_loss: float | None) -> None:
        """Starts writing a checkpoint and returns; without a loss it is never the best one.

        Raises:
            RunError: this one, or the one before, cannot be written.
        """
        self.finish()
        step = int(state.step)
        if step in self.steps():
            return
        metadata = {
            "config": dataclasses.asdict(self._config),
            "progress": {"epoch": progress.epoch, "sums": dict(progress.sums)},
            "devices": jax.device_count(),
        }
        metrics: Any = None if validation_loss is None else {"validation_loss": validation_loss}
        # Through JSON because Orbax takes no tuples.
        metadata = json.loads(json.dumps(metadata))
        with _one_line(step):
            promise = self._checkpointer.save_async(
                step, _arrays(state), force=True, metrics=metrics, custom_metadata=metadata
            )
        self._being_written = (step, promise)

    def finish(self) -> None:
        """Waits for the checkpoint that is being written, if one is, and seals it.

        Raises:
            RunError: it cannot be written.
        """
        if self._being_written is not None:
            step, promise = self._being_written
            self._being_written = None
            with _one_line(step):
                promise.result()
                folder = self._folder(step)
                write_atomically(folder / _SEAL, json.dumps(_file_hashes(folder)).encode())

    def steps(self) -> list[int]:
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def restore(self, target: TrainState, which: str | int = "latest") -> Restored | None:
        """A checkpoint in the shape of `target`: "latest", "best", or of one step; None if none.

        A damaged checkpoint is set aside, with a word, and the next one in line is taken.

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
            stored = self._checkpointer.metadata(step)
            mismatch = _first_mismatch(stored.metadata, _arrays(target))
            if mismatch:
                raise InputError(f"checkpoint {step} is of another model: {mismatch}")
            abstract = jax.tree.map(_abstract, _arrays(target))
            arrays = self._checkpointer.load(step, abstract)
        except InputError:
            raise
        except Exception as error:  # Orbax and TensorStore have no error of their own to catch
            if not sealed:
                return None
            reason = str(error).splitlines()[0][:300]
            raise RunError(f"checkpoint {step} is whole but cannot be read: {reason}") from error
        metadata: Any = stored.custom_metadata
        return Restored(target.replace(**arrays), Progress(**metadata["progress"]))

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

    Without `writing` nothing in the folder is changed, so that a run can be looked at while it
    trains.
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
    checkpointer = ocp.training.Checkpointer(
        str(folder.absolute()), preservation_policy=policy, cleanup_tmp_directories=writing
    )
    # Orbax logs every error of its threads with its traceback; we tell each in a sentence.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
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
def _one_line(step: int) -> Iterator[None]:
    """Turns Orbax's and TensorStore's errors, pages long, into one sentence."""
    try:
        yield
    except Exception as error:
        reason = "the disk is full" if "RESOURCE_EXHAUSTED" in str(error) else str(error)
        first = reason.splitlines()[0][:300]
        raise RunError(f"the checkpoint of step {step} cannot be written: {first}") from error


def _file_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder` but the seal itself, by relative path."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _SEAL]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _fits_seal(folder: Path) -> bool | None:
    """Whether the files are those that were sealed; None where a kill left no time for sealing."""
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
