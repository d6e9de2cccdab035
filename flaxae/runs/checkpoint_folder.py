"""The checkpoints that a run's folder holds, and how a state is restored from one."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flax.training.train_state import TrainState

from flaxae.config import TrainConfig
from flaxae.config.serialization import differences, from_json
from flaxae.data import seal
from flaxae.errors import InputError, RunError
from flaxae.runs import checkpoint_files as files
from flaxae.runs.disk_faults import reason, warn
from flaxae.training.epoch import EpochSums

UNKNOWN = -float("inf")  # the loss of a damaged checkpoint


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


class CheckpointFolder:
    """The checkpoints in `folder`, of the run with this config and this digest of its images.

    Without `writing`, nothing in the folder is changed, so that a run can be read while it trains.
    """

    def __init__(
        self, folder: Path, config: TrainConfig, digest: str | None = None, writing: bool = False
    ) -> None:
        self._folder = folder
        self._config = config
        self._digest = digest
        self._writing = writing

    def steps(self) -> list[int]:
        """The steps of the checkpoints there are, damaged ones included."""
        found = self._folder.iterdir() if self._folder.is_dir() else []
        names = [p.name for p in found if p.name.isascii() and p.name.isdecimal() and p.is_dir()]
        return sorted(int(name) for name in names if str(int(name)) == name)

    def safe(self) -> str:
        """Which step could be restored now, for messages."""
        try:
            sealed = [step for step in self.steps() if files.has_seal(self.path(step))]
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
                return files.read_metadata(self.path(step)).get("history")
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
            losses = self.losses()
            steps.sort(key=lambda step: losses.get(step, float("inf")))
        return steps

    def losses(self) -> dict[int, float]:
        """The loss of each checkpoint that has one; a damaged one has the least."""
        losses = {}
        for step in self.steps():
            try:
                loss = files.read_metadata(self.path(step)).get("validation_loss")
            except InputError:
                loss = UNKNOWN  # it might have been the best, so it is looked at and told
            if loss is not None:
                losses[step] = loss
        return losses

    def _restore_step(self, target: TrainState, step: int) -> Restored | str:
        """The checkpoint, or what is wrong with it."""
        folder = self.path(step)
        what = seal.damage(folder)
        if what is not None:
            return what
        try:
            metadata = files.read_metadata(folder)
            self._require_same_run(step, metadata)
            arrays = files.read_arrays(folder, saved_arrays(target))
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
                f"{self.path(step)} away"
            )

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self._folder / str(step)

    def _pass_over(self, step: int, what: str) -> None:
        where = "passed over"
        if self._writing:
            folder = _free(self._folder.with_name(f"{self._folder.name}-damaged") / str(step))
            folder.parent.mkdir(exist_ok=True)
            self.path(step).rename(folder)
            where = f"moved to {folder}"
        warn(f"checkpoint {step} is damaged ({what}); {where}")


def saved_arrays(state: TrainState) -> dict[str, Any]:
    """What a checkpoint holds of a state."""
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}


def _free(path: Path) -> Path:
    """The path, with a number if there is something already."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in range(2, 10_000))
    return path if not path.exists() else next(p for p in numbered if not p.exists())


def _from_flat(values: Mapping[str, float]) -> EpochSums:
    totals = {name: float(value) for name, value in values.items() if name != "steps"}
    return EpochSums(totals, int(values.get("steps", 0)))
