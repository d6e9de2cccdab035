"""The conductor of a training run: restores or begins, runs epochs, keeps what they yield."""

import itertools
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from flax.training.train_state import TrainState

from flaxae import data, terminal
from flaxae.checkpoint import Checkpoints, Progress, open_checkpoints
from flaxae.config import TrainConfig
from flaxae.data import Batch, ImageSet, training_batches
from flaxae.errors import RunError
from flaxae.evaluate import EvalStep, evaluate, pick_batch, reconstruction_rows
from flaxae.events import EventLog
from flaxae.figures import reconstruction_grid, save_animation, save_png
from flaxae.interrupt import stop_signal
from flaxae.metrics import Quality
from flaxae.model import Autoencoder
from flaxae.placement import Placement, keep_compiled_programs, place, use_every_core
from flaxae.step import (
    Rng,
    Rngs,
    StepMetrics,
    activations,
    create_train_state,
    eval_step,
    gradient_sums,
    learning_rate,
    make_rngs,
    named_leaves,
    train_step,
)
from flaxae.workdir import (
    CHECKPOINTS,
    RECONSTRUCTIONS,
    Record,
    append_metrics,
    claim,
    forget_metrics_after,
    read_metrics,
)

TrainStep = Callable[[TrainState, Batch, Rng], tuple[TrainState, StepMetrics]]
StopSignal = Callable[[], int | None]

_PICTURED = 10  # test images drawn after every epoch
_WATCHED = 64  # validation images whose activations become histograms


jitted_activations = jax.jit(activations)


class EpochSums(NamedTuple):
    """What the steps of an epoch add up to, in Python's double precision."""

    loss: float = 0.0
    grad_norm: float = 0.0
    steps: int = 0


class Run(NamedTuple):
    """What stays the same from epoch to epoch."""

    config: TrainConfig
    workdir: Path
    splits: dict[str, ImageSet]
    batch_size: int
    rngs: Rngs
    placement: Placement
    checkpoints: Checkpoints
    events: EventLog
    stop: StopSignal

    @property
    def steps_per_epoch(self) -> int:
        return len(self.splits["train"].images) // self.batch_size


def train(config: TrainConfig) -> int:
    """Trains to `config.epochs`; returns the exit status, 128 + signal where one stopped it.

    Raises:
        InputError: the dataset or the workdir cannot be used.
        RunError: the loss is no number, or something cannot be written.
    """
    use_every_core()
    keep_compiled_programs(config.compute.compilation_cache)
    splits = data.load(config.data)
    images = splits["train"].images
    model = Autoencoder(config.model, config.compute, images.shape[1:])
    batch_size = min(config.optimizer.batch_size, len(images))
    with (
        claim(config) as workdir,
        open_checkpoints(workdir / CHECKPOINTS, config) as checkpoints,
        stop_signal() as stop,
    ):
        rngs = make_rngs(config.seed)
        placement = place(config)
        state = placement.replicate(create_train_state(model, config.optimizer, rngs.init))
        state, progress = checkpoints.restore(state) or (state, Progress(epoch=0))
        forget_metrics_after(workdir, progress.epoch)
        terminal.show_start(splits, config.data.dataset, batch_size, named_leaves(state.params))
        terminal.show_resume(progress.epoch, config.epochs, int(state.step))
        with EventLog(workdir, int(state.step) + 1) as events:
            run = Run(
                config, workdir, splits, batch_size, rngs, placement, checkpoints, events, stop
            )
            state, stopped = run_epochs(run, state, progress)
    if stopped:
        terminal.show_stop(int(state.step))
        return 128 + (stop() or 0)
    save_animation(workdir / RECONSTRUCTIONS)
    terminal.show_summary(workdir, read_metrics(workdir))
    return 0


def run_epochs(run: Run, state: TrainState, progress: Progress) -> tuple[TrainState, bool]:
    """Trains from `progress` to the last epoch; also tells whether a signal stopped it before."""
    train_fn = compile_train_step(run, state)
    eval_fn = jit_eval_step(run)
    sums = EpochSums(**progress.sums)
    for epoch in range(progress.epoch + 1, run.config.epochs + 1):
        start, first_step = time.perf_counter(), sums.steps
        state, sums = run_epoch(run, train_fn, state, epoch, sums)
        if sums.steps < run.steps_per_epoch:
            run.checkpoints.save(state, Progress(epoch - 1, sums._asdict()), None)
            return state, True
        seconds = time.perf_counter() - start
        speed = (sums.steps - first_step) * run.batch_size / seconds
        validation = run.splits["validation"].images
        quality = evaluate(eval_fn, state, validation, run.batch_size, run.rngs.evaluate)
        record = epoch_record(run, state, epoch, sums, quality, speed)
        keep_epoch(run, state, record | {"seconds": time.perf_counter() - start})
        sums = EpochSums()
    return state, False


def compile_train_step(run: Run, state: TrainState) -> TrainStep:
    """The step compiled before the first epoch, so that no epoch's time contains compilation."""
    sums = partial(gradient_sums, noise_factor=run.config.optimizer.noise_factor)
    step = partial(train_step, sums=run.placement.divide(sums))
    batch = next(training_batches(run.splits["train"].images, run.batch_size, 0, 0))
    return jax.jit(step, donate_argnums=0).lower(state, batch, run.rngs.train).compile()


def jit_eval_step(run: Run) -> EvalStep:
    """The evaluation of one batch."""
    step = partial(eval_step, noise_factor=run.config.optimizer.noise_factor)
    return jax.jit(run.placement.divide(step))


def run_epoch(
    run: Run, step: TrainStep, state: TrainState, epoch: int, sums: EpochSums
) -> tuple[TrainState, EpochSums]:
    """The steps of an epoch that `sums` does not contain yet, or those before a signal."""
    images = run.splits["train"].images
    batches = training_batches(images, run.batch_size, run.config.seed, epoch, sums.steps)
    first, start = sums.steps, time.perf_counter()
    shown = terminal.progress(epoch, run.config.epochs, first, run.steps_per_epoch)
    with shown as on_step:
        pending = None
        for batch in itertools.takewhile(lambda _: run.stop() is None, batches):
            state, metrics = step(state, batch, run.rngs.train)
            # One step late, so that the device never waits for the host.
            sums = sums if pending is None else add_step(sums, pending, epoch)
            pending = metrics
            speed = (sums.steps - first) * run.batch_size / (time.perf_counter() - start)
            on_step(sums.loss / max(sums.steps, 1), speed)
        return state, sums if pending is None else add_step(sums, pending, epoch)


def add_step(sums: EpochSums, metrics: StepMetrics, epoch: int) -> EpochSums:
    """Adds a step's metrics.

    Raises:
        RunError: its loss is no finite number.
    """
    loss, grad_norm = float(metrics.loss), float(metrics.grad_norm)
    if not math.isfinite(loss):
        raise RunError(
            f"the loss became {loss} in step {sums.steps + 1} of epoch {epoch}; the checkpoints "
            "are from before; a smaller --learning-rate may help"
        )
    return EpochSums(sums.loss + loss, sums.grad_norm + grad_norm, sums.steps + 1)


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
    """
    epoch, step = int(record["epoch"]), int(record["step"])
    noise_factor = run.config.optimizer.noise_factor
    batch = pick_batch(run.splits["test"], _PICTURED)
    rows = reconstruction_rows(state, batch, run.rngs.evaluate, noise_factor)
    picture = reconstruction_grid(
        rows, f"epoch {epoch}, validation loss {record['validation_loss']:.4f}"
    )
    save_png(picture, run.workdir / RECONSTRUCTIONS / f"epoch_{epoch:04d}.png")
    append_metrics(run.workdir, record)
    terminal.show_epoch(record, run.config.epochs)
    watched = jitted_activations(state, run.splits["validation"].images[:_WATCHED])
    run.events.epoch(step, record, picture, named_leaves(state.params), named_leaves(watched))
    run.checkpoints.save(state, Progress(epoch), record["validation_loss"])
