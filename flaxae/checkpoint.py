"""Checkpoints of a run, through Orbax: the newest two and the best by validation loss.

Orbax does not notice flipped bytes in array data, so every checkpoint carries a sha256 of its
arrays, and restoring verifies it.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState
from orbax.checkpoint import v1 as ocp

from flaxae.config import TrainConfig
from flaxae.errors import InputError, RunError

_policies = ocp.training.preservation_policies


class Progress(NamedTuple):
    """Where in the run a checkpoint was taken."""

    epoch: int  # epochs completed
    sums: tuple[float, ...] = ()  # of the epoch that was under way, if one was


class Restored(NamedTuple):
    state: TrainState
    progress: Progress


class Checkpoints:
    """The checkpoints in one folder; made by `open_checkpoints`."""

    def __init__(self, checkpointer: ocp.training.Checkpointer, config: TrainConfig) -> None:
        self._checkpointer = checkpointer
        self._config = config

    def save(self, state: TrainState, progress: Progress, validation_loss: float | None) -> None:
        """Starts writing a checkpoint and returns; without a loss it is never the best one.

        Raises:
            RunError: this one, or the one before, cannot be written.
        """
        step = int(state.step)
        if step in self.steps():
            return
        arrays = _arrays(state)
        metadata = {
            "config": dataclasses.asdict(self._config),
            "progress": progress._asdict(),
            "sha256": _fingerprint(arrays),
            "devices": jax.device_count(),
        }
        metrics = None if validation_loss is None else {"validation_loss": validation_loss}
        # Through JSON because Orbax takes no tuples.
        metadata = json.loads(json.dumps(metadata))
        with _one_line(f"the checkpoint of step {step} cannot be written"):
            self._checkpointer.save_async(
                step, arrays, force=True, metrics=metrics, custom_metadata=metadata
            )

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
            losses = {
                c.step: c.metrics["validation_loss"]
                for c in self._checkpointer.checkpoints
                if c.metrics
            }
            return sorted(losses, key=losses.__getitem__) or steps
        if which not in steps:
            there = ", ".join(map(str, sorted(steps))) or "none"
            raise InputError(f"there is no checkpoint of step {which}; there are: {there}")
        return [int(which)]

    def _restore_step(self, target: TrainState, step: int) -> Restored | None:
        try:
            metadata = self._checkpointer.metadata(step).custom_metadata
            abstract = jax.tree.map(_abstract, _arrays(target))
            arrays = self._checkpointer.load(step, abstract)
        except Exception as error:
            # Orbax raises what its layers raise; a shape that differs is told apart by its cause.
            if "not compatible with the stored shape" in f"{error} {error.__cause__}":
                raise InputError(f"checkpoint {step} is of another model: {error.__cause__}")
            return None
        if not isinstance(metadata, dict) or metadata.get("sha256") != _fingerprint(arrays):
            return None
        progress = metadata["progress"]
        return Restored(
            target.replace(**arrays), Progress(progress["epoch"], tuple(progress["sums"]))
        )

    def _set_aside(self, step: int) -> None:
        folder = Path(self._checkpointer.directory)
        damaged = folder.with_name(f"{folder.name}-damaged") / str(step)
        damaged.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # read-only: then it is only passed over
            (folder / str(step)).rename(damaged)
        print(f"checkpoint {step} is damaged; moved to {damaged}, going on with the one before")


@contextlib.contextmanager
def open_checkpoints(folder: Path, config: TrainConfig) -> Iterator[Checkpoints]:
    """The checkpoints in `folder`; leaving the block waits until the last one is written."""
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
        folder.absolute(), preservation_policy=policy, cleanup_tmp_directories=True
    )
    try:
        yield Checkpoints(checkpointer, config)
    finally:
        with _one_line("the last checkpoint cannot be written"):
            checkpointer.close()


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turns Orbax's and TensorStore's errors, pages long, into one sentence."""
    try:
        yield
    except Exception as error:
        reason = "the disk is full" if "RESOURCE_EXHAUSTED" in str(error) else str(error)
        raise RunError(f"{what}: {reason.splitlines()[0][:300]}") from error


def _arrays(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = jax.numpy.asarray(leaf)
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _fingerprint(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(arrays):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()
