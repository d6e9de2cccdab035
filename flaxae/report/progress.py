"""What a person reads while a run trains: a callback that prints tables, a bar and lines."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flaxae.data.file_names import counted
from flaxae.report.terminal import console, say, show_table
from flaxae.training.loop import View
from flaxae.training.state import named_leaves

# Shown in each epoch's line under another name, in another way, or not at all.
_SHOWN_OTHERWISE = {
    "epoch",
    "step",
    "train_loss",
    "validation_loss",
    "validation_rmse",
    "learning_rate",
    "grad_norm",
    "images_per_second",
    "seconds",
}


class TrainingDisplay:
    """Prints device, data and model at the start, a line for each epoch, and a summary.

    A terminal also gets a progress bar; a file or a pipe gets the lines only.
    """

    everywhere = True

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def on_start(self, view: View) -> None:
        """The device, the data and the model, and where the run continues."""
        task = view.task
        placement, first = task.trainer.placement, jax.devices()[0]
        several = placement.share.processes
        where = f", in {several} processes" if several > 1 else ""
        say(f"device    {placement.mesh.size} x {first.device_kind} ({first.platform}){where}")
        sizes = ", ".join(f"{name} {len(s.images):,}" for name, s in task.splits.items())
        shape = _shape(task.model.image_shape)
        name, batch_size = view.config.data.dataset, task.trainer.batch_size
        say(f"dataset   {name}: {sizes}; images {shape}, batches of {batch_size}")
        leaves = named_leaves(view.state.params)
        rows = [(name, _shape(leaf.shape), f"{leaf.size:,}") for name, leaf in leaves.items()]
        total = sum(leaf.size for leaf in leaves.values())
        show_table("", ("parameter", "shape", "weights"), [*rows, ("total", "", f"{total:,}")])
        if view.epoch >= task.epochs:
            done = counted(view.epoch, "epoch")
            say(f"trained for {done} already; a larger --epochs continues")
        elif view.step > 0:
            say(f"continuing in epoch {view.epoch + 1} after step {view.step}")

    def on_call(self, view: View) -> None:
        """Moves the bar."""
        if not console().is_terminal:
            return
        if self._bar is None:
            epochs = view.task.epochs
            total = epochs * view.task.trainer.steps_per_epoch
            self._bar = _bar(f"epoch {view.epoch + 1}/{epochs}", total)
            self._bar.start()
        loss = f"{view.sums.means()['loss']:.4f}" if view.sums.steps else "-"
        self._bar.update(
            self._bar.task_ids[0], completed=view.step, loss=loss, speed=view.images_per_second
        )

    def on_epoch(self, view: View) -> None:
        """A line with the epoch's numbers."""
        self._close_bar()
        record, epochs = view.record, view.task.epochs
        others = "".join(
            f"  {name.replace('_', ' ')} {value:.4f}"
            for name, value in record.items()
            if name not in _SHOWN_OTHERWISE
        )
        say(
            f"epoch {record['epoch']:{len(str(epochs))}}/{epochs}"
            f"  train loss {record['train_loss']:.4f}"
            f"  validation loss {record['validation_loss']:.4f}"
            f"  rmse {record['validation_rmse']:.4f}{others}"
            f"  {record['images_per_second']:,.0f} images/s  {record['seconds']:.1f} s"
        )

    def on_end(self, view: View) -> None:
        """A summary of a finished run, or where a stopped one continues."""
        self._close_bar()
        if view.status == "stopped":
            say(f"stopped after step {view.step}, which is saved; the same command continues there")
        elif view.status == "finished":
            show_summary(str(view.task.workdir), view.history, view.config.scoring)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def show_summary(workdir: str, history: Sequence[Mapping[str, Any]], scoring: bool = False) -> None:
    """A finished run's last and best loss, its time, where its files are and what to do next.

    `scoring` says that the run is made to score images.
    """
    if history:  # else somebody has deleted metrics.jsonl
        best = min(history, key=lambda record: record["validation_loss"])
        last = history[-1]
        seconds = sum(record["seconds"] for record in history)
        took = counted(round(seconds), "second") if seconds < 60 else f"{seconds / 60:.1f} minutes"
        say(
            "",
            f"{counted(last['epoch'], 'epoch')} in {took}; validation loss "
            f"{last['validation_loss']:.4f}, the best {best['validation_loss']:.4f} in epoch "
            f"{best['epoch']}",
        )
    quoted = shlex.quote(workdir)
    say(
        f"everything is in {workdir}",
        f"look:      {workdir}/reconstructions/animation.webp",
        f"evaluate:  python run.py evaluate --workdir {quoted}",
        f"curves:    tensorboard --logdir {quoted}",
    )
    if scoring:
        say(f"score:     python run.py score --workdir {quoted} --images FOLDER")


def _bar(title: str, total: int) -> Progress:
    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]:,.0f} images/s"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console(), transient=True, refresh_per_second=4)
    bar.add_task("", total=total, loss="-", speed=0.0)
    return bar


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
