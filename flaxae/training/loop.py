"""The training loop: epochs, validation, and the callbacks that do everything else."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.data.splits import Split
from flaxae.models.autoencoder import Autoencoder
from flaxae.training.epoch import Call, EpochSums, Trainer, require_finite
from flaxae.training.memory import watched_images
from flaxae.training.processes import Agreement, gather, local
from flaxae.training.state import Rngs, evaluated, named_leaves
from flaxae.training.step import activations
from flaxae.training.validation import EvalStep, evaluate

Record = Mapping[str, int | float]  # an epoch's numbers by name: a line of metrics.jsonl
Status = Literal["running", "finished", "stopped", "failed"]

# Of the validation's results, those that follow from others or are no measurement.
_UNRECORDED = {"mse", "psnr", "examples"}

_jitted_activations = jax.jit(activations)


@dataclass(frozen=True)
class Task:
    """What stays the same from epoch to epoch."""

    config: Any  # the run's TrainConfig
    workdir: Path
    splits: Mapping[str, Split]
    model: Autoencoder
    rngs: Rngs
    trainer: Trainer
    evaluator: EvalStep
    learning_rate: Callable[[int], Any]  # of the update that follows so many updates
    epochs: int  # to be completed


@dataclass(frozen=True)
class View:
    """A frozen view of the run, as every callback gets it.

    `state.params` are donated to the next call, so copy what you keep; after a failure they may be
    gone. `evaluated` is the state that is validated, with averaged weights if there are any.

    Example:
        >>> class Norms(flaxae.Callback):
        ...     def on_epoch(self, view):
        ...         print(view.epoch, view.step, view.record["validation_loss"])
    """

    task: Task
    state: TrainState
    epoch: int  # epochs completed
    step: int  # updates so far
    sums: EpochSums  # of the epoch under way, up to the call before
    history: tuple[Record, ...]  # of the epochs completed; an earlier start's included
    status: Status = "running"
    call_steps: int = 0  # on_call: steps in this call
    images_per_second: float = 0.0  # on_call: since the epoch's start
    parameters: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)  # on_epoch
    activations: Mapping[str, jax.Array] = dataclasses.field(default_factory=dict)  # on_epoch

    @property
    def config(self) -> Any:
        """The run's TrainConfig."""
        return self.task.config

    @property
    def record(self) -> Record:
        """The numbers of the last epoch completed."""
        return self.history[-1]

    @property
    def evaluated(self) -> TrainState:
        """The state with the weights that are evaluated."""
        return evaluated(self.state)


class Callback:
    """What listens to training: any object with some of these methods, of this class or not.

    In a run of several processes, process 0 calls it, and every process if it has `everywhere`.

    Example:
        >>> class Patience(Callback):
        ...     def on_epoch(self, view):
        ...         losses = [record["validation_loss"] for record in view.history]
        ...         return min(losses) not in losses[-5:]
    """

    everywhere = False

    def on_start(self, view: View) -> None:
        """Called before the first step."""

    def on_call(self, view: View) -> bool | None:
        """Called after each call of one or more steps; return True to stop training."""

    def on_validation(self, view: View) -> bool | None:
        """Called after each batch of a validation; return True to stop training before its end.

        The epoch's steps are kept, and the validation is made when training continues.
        """

    def on_epoch(self, view: View) -> bool | None:
        """Called after each epoch and its validation; return True to stop training."""

    def on_end(self, view: View) -> None:
        """Called at the end, whether finished, stopped or failed (see `view.status`).

        The callbacks are called in reverse order.
        """


def fit(
    task: Task,
    state: TrainState,
    epoch: int,
    sums: EpochSums,
    history: Sequence[Record],
    callbacks: Sequence[Any],
) -> View:
    """Trains from `epoch` completed epochs and the steps in `sums` to `task.epochs`.

    Raises:
        RunError: a loss, a weight or an activation is NaN or infinite.
    """
    view = View(task, state, epoch, int(state.step), sums, tuple(history))

    def notify(event: str, seen: View) -> bool:
        nonlocal view
        view = _released(seen)
        return _notify(callbacks, event, seen)

    def end(callback: Any) -> None:
        nonlocal view
        try:
            _notify([callback], "on_end", view)
        except BaseException:
            view = dataclasses.replace(view, status="failed")
            raise

    with contextlib.ExitStack() as stack:  # each on_end is called, also if another one fails
        try:
            for callback in callbacks:
                stack.callback(end, callback)
                _notify([callback], "on_start", view)
            view = _run_epochs(view, notify)
        except BaseException:
            view = dataclasses.replace(view, status="failed")
            raise
    return view


def _run_epochs(view: View, notify: Callable[[str, View], bool]) -> View:
    task, agreement = view.task, Agreement()
    if view.epoch < task.epochs:
        task.trainer.compile(view.state, view.sums.steps)
        gather("the first step")
    while view.epoch < task.epochs:
        start, first_step = time.perf_counter(), view.sums.steps
        view, stop = _train_epoch(view, notify, agreement)
        if view.sums.steps < task.trainer.steps_per_epoch:
            return dataclasses.replace(view, status="stopped")
        steps = view.sums.steps - first_step
        speed = steps * task.trainer.batch_size / (time.perf_counter() - start)
        try:
            view = _complete_epoch(view, speed, start, notify, agreement)
        except _ValidationStopped:
            return dataclasses.replace(view, status="stopped")
        stop = agreement.now(stop | notify("on_epoch", view))
        view = _released(view)
        if stop and view.epoch < task.epochs:
            return dataclasses.replace(view, status="stopped")
    return dataclasses.replace(view, status="finished")


def _released(view: View) -> View:
    """The view without the arrays that are for `on_epoch` only, so that their memory is freed."""
    return dataclasses.replace(view, parameters={}, activations={})


def _train_epoch(
    view: View, notify: Callable[[str, View], bool], agreement: Agreement
) -> tuple[View, bool]:
    """The remaining steps of an epoch; also tells whether a callback stopped training."""
    trainer, first, stopped = view.task.trainer, view.step - view.sums.steps, False
    done = view.sums.steps

    def on_call(call: Call) -> bool:
        nonlocal done, stopped
        done += call.steps
        seen = dataclasses.replace(
            view,
            state=call.state,
            step=first + done,
            sums=call.sums,
            call_steps=call.steps,
            images_per_second=call.images_per_second,
        )
        stopped = agreement.soon(notify("on_call", seen))
        return stopped

    state, sums = trainer.run_epoch(view.state, view.epoch + 1, view.sums, on_call)
    return dataclasses.replace(view, state=state, sums=sums, step=first + sums.steps), stopped


class _ValidationStopped(Exception):
    """A callback has stopped training during a validation."""


def _complete_epoch(
    view: View,
    speed: float,
    start: float,
    notify: Callable[[str, View], bool],
    agreement: Agreement,
) -> View:
    """Validates, checks that all numbers are finite, and adds the epoch's record."""
    task, epoch, evaluated = view.task, view.epoch + 1, view.evaluated
    validation = task.splits["validation"]

    def after_batch() -> None:
        if agreement.soon(notify("on_validation", view)):
            raise _ValidationStopped

    quality = evaluate(
        task.evaluator,
        evaluated,
        validation,
        task.trainer.batch_size,
        task.rngs.evaluate,
        after_batch,
        task.trainer.placement.share,
    )
    require_finite(quality["loss"], f"the validation loss after epoch {epoch}")
    evaluated = local(evaluated)
    parameters = named_leaves(evaluated.params)
    one = jax.ShapeDtypeStruct((1, *validation.image_shape), validation.images.dtype)
    count = watched_images(_jitted_activations.eval_shape(evaluated, one))
    watched = named_leaves(_jitted_activations(evaluated, validation.images[:count]))
    # The loss alone is not enough: on a CPU the maximum of a pooling ignores NaN.
    for name, array in (*parameters.items(), *watched.items()):
        require_finite(float(np.abs(array).max()), f"{name} after epoch {epoch}")
    record = _record(view, epoch, quality, speed, start)
    return dataclasses.replace(
        view,
        epoch=epoch,
        sums=EpochSums(),
        history=(*view.history, record),
        parameters=parameters,
        activations=watched,
    )


def _record(
    view: View, epoch: int, quality: Mapping[str, Any], speed: float, start: float
) -> Record:
    """An epoch's line in metrics.jsonl: losses in the objective's unit, RMSE of pixels in 0..1."""
    trained = view.sums.means()
    grad_norm = trained.pop("grad_norm")
    return {
        "epoch": epoch,
        "step": view.step,
        **{f"train_{name}": value for name, value in trained.items()},
        **{f"validation_{k}": v for k, v in quality.items() if k not in _UNRECORDED},
        "learning_rate": float(view.task.learning_rate(view.step)),
        "grad_norm": grad_norm,
        "images_per_second": speed,
        "seconds": time.perf_counter() - start,
    }


def _notify(callbacks: Sequence[Any], event: str, view: View) -> bool:
    """Calls every callback that has the method; whether one of them returned True."""
    if (own := local(view.state)) is not view.state:
        view = dataclasses.replace(view, state=own)
    answers = [getattr(callback, event)(view) for callback in callbacks if hasattr(callback, event)]
    return any(answer is not None and bool(answer) for answer in answers)
