"""Tables for people who read a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from flaxae.evaluation.embedding_quality import EmbeddingQuality  # imports scikit-learn

_KINDS = ("embedding", "pca", "pixels")
_MOST_CLASSES = 12  # of a matrix of numbers that fits a terminal
# Name -> what a person calls it, and its unit. Other names are shown as they are.
_NAMES = {
    "rmse": ("RMSE", "of the pixel range 0..1"),
    "psnr": ("PSNR", "dB, of the mean squared error"),
    "mse": ("MSE", "of the pixel range 0..1, squared"),
    "ssim": ("SSIM", "structural similarity, at most 1"),
}


def show_quality(title: str, loss: str, quality: Mapping[str, Any]) -> None:
    """The reconstruction quality of a split as a table; `loss` is the objective's name."""
    names = {**_NAMES, "loss": (f"loss ({loss})", "nats a pixel" if loss == "bce" else "a pixel")}
    rows = [
        (names.get(name, (name, ""))[0], f"{value:.4f}", names.get(name, ("", ""))[1])
        for name, value in quality.items()
        if name != "examples"
    ]
    rows.append(("examples", f"{quality['examples']:,}", ""))
    show_table(title, ("measure", "value", "unit"), rows)


def show_embedding_quality(
    quality: "EmbeddingQuality", class_names: Sequence[str], unseen: bool
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
        print("no kNN and no linear probe: both learn from the training split; try --split test")
    elif quality.confusion is None:
        print("no kNN and no linear probe: the dataset has no labels")
    elif len(class_names) <= _MOST_CLASSES:
        numbers = [[str(count) for count in counts] for counts in quality.confusion]
        rows = [(name, *counts) for name, counts in zip(class_names, numbers, strict=True)]
        show_table("kNN: class and predictions", ("", *map(str, range(len(rows)))), rows)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: text at the left, numbers at the right."""
    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(table.columns):
        if all(row[index][:1].isdigit() for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console().print(table)


def console() -> Console:
    """Standard output: without colored numbers, and 120 columns wide if it is no terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=120)
