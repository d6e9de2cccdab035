"""What a person reads while a run goes on: tables, a progress bar, or plain lines when piped."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from flaxae.data.store import ImageSet
from flaxae.objectives.measures import Quality
from flaxae.runs.profile import Operation

if TYPE_CHECKING:
    from flaxae.evaluation.embedding_quality import EmbeddingQuality  # imports scikit-learn

OnCall = Callable[[int, float, float], None]  # steps of the call, mean loss, images a second

_KINDS = ("embedding", "pca", "pixels")
_MOST_CLASSES = 12  # of a matrix of numbers that fits a terminal


def show_start(
    splits: Mapping[str, ImageSet], dataset: str, batch_size: int, params: Mapping[str, jax.Array]
) -> None:
    """The device, the data and the model, before the first step."""
    console = _console()
    devices = jax.devices()
    console.print(f"device    {len(devices)} x {devices[0].device_kind} ({devices[0].platform})")
    sizes = ", ".join(f"{name} {len(split.images):,}" for name, split in splits.items())
    shape = _shape(splits["train"].images.shape[1:])
    console.print(f"dataset   {dataset}: {sizes}; images {shape}, batches of {batch_size}")
    sizes_by_name = [(name, _shape(leaf.shape), f"{leaf.size:,}") for name, leaf in params.items()]
    total = sum(leaf.size for leaf in params.values())
    show_table("", ("parameter", "shape", "weights"), [*sizes_by_name, ("total", "", f"{total:,}")])


def show_resume(epoch: int, epochs: int, step: int) -> None:
    """Where a run goes on that was begun before."""
    if epoch >= epochs:
        print(f"trained for {epoch} epochs already; a larger --epochs goes on")
    elif step > 0:
        print(f"going on in epoch {epoch + 1} after step {step}")


@contextlib.contextmanager
def progress(epoch: int, epochs: int, first_step: int, steps: int) -> Iterator[OnCall]:
    """A bar over the whole run while an epoch trains; nothing where the output is piped."""
    console = _console()
    if not console.is_terminal:
        yield lambda steps, loss, images_per_second: None
        return
    columns = (
        TextColumn(f"epoch {epoch}/{epochs}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]:,.0f} images/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("", total=epochs * steps, loss="-", speed=0.0)
        bar.update(task, completed=(epoch - 1) * steps + first_step)

        def on_call(steps: int, loss: float, images_per_second: float) -> None:
            bar.update(task, advance=steps, loss=f"{loss:.4f}", speed=images_per_second)

        yield on_call


def show_epoch(record: Mapping[str, int | float], epochs: int) -> None:
    """One line with an epoch's numbers."""
    width = len(str(epochs))
    print(
        f"epoch {record['epoch']:{width}}/{epochs}"
        f"  train loss {record['train_loss']:.4f}"
        f"  validation loss {record['validation_loss']:.4f}"
        f"  rmse {record['validation_rmse']:.4f}"
        f"  {record['images_per_second']:,.0f} images/s"
        f"  {record['seconds']:.1f} s",
        flush=True,
    )


def show_summary(workdir: Path, records: Sequence[Mapping[str, int | float]]) -> None:
    """What a finished run came to, and where it lies."""
    if not records:  # somebody deleted them
        print(f"everything is in {workdir}")
        return
    best = min(records, key=lambda record: record["validation_loss"])
    last = records[-1]
    minutes = sum(record["seconds"] for record in records) / 60
    print(
        f"\n{last['epoch']} epoch(s) in {minutes:.1f} minutes; validation loss "
        f"{last['validation_loss']:.4f}, the best {best['validation_loss']:.4f} in epoch "
        f"{best['epoch']}\n"
        f"everything is in {workdir}\n"
        f"look:      {workdir / 'reconstructions' / 'animation.webp'}\n"
        f"evaluate:  python run.py evaluate --workdir {workdir}\n"
        f"curves:    tensorboard --logdir {workdir}"
    )


def show_operations(folder: Path, operations: Sequence[Operation]) -> None:
    """The costliest operations of a profile, and how to see all of it."""
    rows = [
        (op.name, op.origin, f"{op.milliseconds:.1f}", f"{100 * op.share:.1f}", f"{op.times:,}")
        for op in operations
    ]
    show_table("", ("operation", "of", "ms", "% of all", "times"), rows)
    print(
        f"the whole profile: pip install xprof && xprof --logdir {folder}\n"
        f"or open the newest perfetto_trace.json.gz in {folder} at https://ui.perfetto.dev"
    )


def show_stop(step: int) -> None:
    """A run that a signal ended."""
    print(f"stopped after step {step}, which is saved; the same command goes on from there")


def show_quality(title: str, quality: Quality) -> None:
    """The reconstruction quality of a split as a table."""
    show_table(
        title,
        ("measure", "value", "unit"),
        [
            ("loss (sigmoid cross-entropy)", f"{quality.loss:.4f}", "nats a pixel"),
            ("RMSE", f"{quality.rmse:.4f}", "of the pixel range 0..1"),
            ("PSNR", f"{quality.psnr:.2f}", "dB, of the mean squared error"),
            ("examples", f"{quality.examples:,}", ""),
        ],
    )


def show_embedding_quality(
    quality: "EmbeddingQuality", class_names: Sequence[str], unseen: bool, pictures: Path
) -> None:
    """The embedding's scores beside those of PCA and pixels, and the kNN's confusion matrix."""
    scores = {
        f"kNN accuracy (k = {quality.neighbors})": quality.knn_accuracy,
        "linear probe accuracy": quality.linear_probe_accuracy,
        "trustworthiness": quality.trustworthiness,
    }
    columns = (
        f"embedding ({quality.dimensions})",
        f"PCA ({quality.pca_dimensions})",
        "raw pixels",
    )
    rows = [
        (name, *(f"{by[kind]:.4f}" if kind in by else "1" for kind in _KINDS))
        for name, by in scores.items()
        if by is not None
    ]
    if rows:
        show_table("", ("measure", *columns), rows)
    if not unseen:
        print("no kNN and no linear probe: both learn from the training split; take --split test")
    elif quality.confusion is None:
        print("no kNN and no linear probe: the dataset has no labels")
    elif len(class_names) <= _MOST_CLASSES:
        numbers = [[str(count) for count in counts] for counts in quality.confusion]
        rows = [(name, *counts) for name, counts in zip(class_names, numbers, strict=True)]
        show_table("kNN: class, and its answers", ("", *map(str, range(len(rows)))), rows)
    print(f"pictures  {pictures}")


def show_export(title: str, remarks: Sequence[str], folder: Path, steps: str) -> None:
    """What an export came to, and the steps that open it."""
    print(title)
    for remark in remarks:
        print(f"note: {remark}")
    print(f"everything is in {folder}\n{steps}", end="")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people: text at the left, numbers at the right."""
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(table.columns):
        if all(row[index][:1].isdigit() for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _console() -> Console:
    # No coloring of numbers; and no cutting at 80 columns where the output is a file.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)
