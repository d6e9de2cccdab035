"""The conductor of a training run: restores or begins, runs epochs, keeps what they yield."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.commands import terminal
from flaxae.config import TrainConfig
from flaxae.data import store
from flaxae.data.store import ImageSet
from flaxae.errors import RunError
from flaxae.evaluation.reconstruction import EvalStep, evaluate, pick_batch, reconstruction_rows
from flaxae.models.autoencoder import Autoencoder
from flaxae.objectives.measures import Quality
from flaxae.report.figures import reconstruction_grid, save_animation, save_png
from flaxae.runs.checkpoints import Checkpoints, Progress, open_checkpoints
from flaxae.runs.events import EventLog
from flaxae.runs.profile import costliest_operations, recording
from flaxae.runs.stop_signal import stop_signal
from flaxae.runs.workdir import (
    CHECKPOINTS,
    CONFIG,
    PROFILE,
    RECONSTRUCTIONS,
    Record,
    append_metrics,
    claim,
    forget_metrics_after,
    read_metrics,
)
from flaxae.training.devices import keep_compiled_programs, place, use_every_core
from flaxae.training.epoch import EpochSums, Trainer, require_finite
from flaxae.training.step import (
    Rngs,
    activations,
    create_train_state,
    eval_step,
    learning_rate,
    make_rngs,
    named_leaves,
)

StopSignal = Callable[[], int | None]

_PICTURED = 10  # test images drawn after every epoch
_WATCHED = 64  # validation images whose activations become histograms

jitted_activations = jax.jit(activations)


class Run(NamedTuple):
    """What stays the same from epoch to epoch."""

    config: TrainConfig
    workdir: Path
    splits: dict[str, ImageSet]
    rngs: Rngs
    trainer: Trainer
    evaluator: EvalStep
    checkpoints: Checkpoints
    events: EventLog
    stop: StopSignal


def train(config: TrainConfig) -> int:
    """Trains to `config.epochs`; returns the exit status, 128 + signal where one stopped it.

    Raises:
        InputError: the dataset or the workdir cannot be used.
        RunError: the loss is no number, or something cannot be written.
    """
    use_every_core(config.model)
    keep_compiled_programs(config.compute.compilation_cache)
    splits = store.load(config.data)
    images = splits["train"].images
    model = Autoencoder(config.model, config.compute, images.shape[1:])
    with (
        claim(config) as workdir,
        open_checkpoints(workdir / CHECKPOINTS, config) as checkpoints,
        stop_signal() as stop,
    ):
        rngs, placement = make_rngs(config.seed), place(config, images.shape[1:])
        state = placement.replicate(create_train_state(model, config.optimizer, rngs.init))
        state, progress = checkpoints.restore(state) or (state, Progress(epoch=0))
        forget_metrics_after(workdir, progress.epoch)
        trainer = Trainer(config, images, placement, rngs.train)
        name, batch_size = config.data.dataset, trainer.batch_size
        terminal.show_start(splits, name, batch_size, named_leaves(state.params))
        terminal.show_resume(progress.epoch, config.epochs, int(state.step))
        step = partial(eval_step, noise_factor=config.optimizer.noise_factor)
        evaluator = jax.jit(placement.divide(step))
        with EventLog(workdir, int(state.step) + 1) as events:
            run = Run(config, workdir, splits, rngs, trainer, evaluator, checkpoints, events, stop)
            state, stopped = run_epochs(run, state, progress)
    if stopped:
        terminal.show_stop(int(state.step))
        return 128 + (stop() or 0)
    save_animation(workdir / RECONSTRUCTIONS)
    terminal.show_summary(workdir, read_metrics(workdir))
    if config.profile:
        operations = costliest_operations(workdir / PROFILE, trainer.programs())
        terminal.show_operations(workdir / PROFILE, operations)
    return 0


def run_epochs(run: Run, state: TrainState, progress: Progress) -> tuple[TrainState, bool]:
    """Trains from `progress` to the last epoch; also tells whether a signal stopped it before."""
    trainer, sums = run.trainer, EpochSums(**progress.sums)
    if progress.epoch < run.config.epochs:
        trainer.compile(state, sums.steps)
    for epoch in range(progress.epoch + 1, run.config.epochs + 1):
        start, first_step = time.perf_counter(), sums.steps
        shown = terminal.progress(epoch, run.config.epochs, first_step, trainer.steps_per_epoch)
        with shown as on_call, contextlib.ExitStack() as stack:
            if run.config.profile and epoch == progress.epoch + 1:
                on_call = stack.enter_context(recording(run.workdir / PROFILE, on_call))
            state, sums = trainer.run_epoch(state, epoch, sums, on_call, run.stop)
        if sums.steps < trainer.steps_per_epoch:
            run.checkpoints.save(state, Progress(epoch - 1, sums._asdict()), None)
            return state, True
        speed = (sums.steps - first_step) * trainer.batch_size / (time.perf_counter() - start)
        images = run.splits["validation"].images
        quality = evaluate(run.evaluator, state, images, trainer.batch_size, run.rngs.evaluate)
        require_finite(quality.loss, f"the validation loss after epoch {epoch}")
        record = epoch_record(run, state, epoch, sums, quality, speed)
        keep_epoch(run, state, record | {"seconds": time.perf_counter() - start})
        sums = EpochSums()
    return state, False


def epoch_record(
    run: Run, state: TrainState, epoch: int, sums: EpochSums, quality: Quality, speed: float
) -> Record:
    """An epoch's line in metrics.jsonl: losses in nats a pixel, RMSE in units of the range 0..1."""
    return {
        "epoch": epoch,
        "step": int(state.step),
        "train_loss": sums.loss / sums.steps,
        "validation_loss": quality.loss,
        "validation_rmse": quality.rmse,
        "learning_rate": learning_rate(run.config.optimizer, int(state.step)),
        "grad_norm": sums.grad_norm / sums.steps,
        "images_per_second": speed,
    }


def keep_epoch(run: Run, state: TrainState, record: Record) -> None:
    """Writes an epoch's picture, numbers and events, and last its checkpoint.

    Last, because what no checkpoint covers is written anew after a restart.

    Raises:
        RunError: somebody has moved or deleted the run's folder, or a number is none any more.
    """
    if not (run.workdir / CONFIG).exists():
        raise RunError(f"{run.workdir} was moved or deleted while its run was training")
    epoch, step = int(record["epoch"]), int(record["step"])
    parameters = named_leaves(state.params)
    watched = named_leaves(jitted_activations(state, run.splits["validation"].images[:_WATCHED]))
    # The loss does not tell: on a CPU the maximum of a pooling passes over NaN.
    for name, array in (*parameters.items(), *watched.items()):
        require_finite(float(np.abs(array).max()), f"{name} after epoch {epoch}")
    noise_factor = run.config.optimizer.noise_factor
    batch = pick_batch(run.splits["test"], _PICTURED)
    rows = reconstruction_rows(state, batch, run.rngs.evaluate, noise_factor)
    picture = reconstruction_grid(
        rows, f"epoch {epoch}, validation loss {record['validation_loss']:.4f}"
    )
    save_png(picture, run.workdir / RECONSTRUCTIONS / f"epoch_{epoch:04d}.png")
    append_metrics(run.workdir, record)
    terminal.show_epoch(record, run.config.epochs)
    run.events.epoch(step, record, picture, parameters, watched)
    run.checkpoints.save(state, Progress(epoch), record["validation_loss"])
