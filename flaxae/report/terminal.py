"""Tables for people who read a terminal."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flaxae.data.file_names import escaped

if TYPE_CHECKING:
    from flaxae.evaluation.embedding_quality import EmbeddingQuality  # imports scikit-learn

_MOST_CLASSES = 12  # of a matrix of numbers that fits a terminal
_SCORES = {
    "nn1_accuracy": "1 nearest neighbor, accuracy",
    "knn_accuracy": "5 nearest neighbors, accuracy",
    "linear_probe_accuracy": "linear probe, accuracy",
    "kmeans_accuracy": "k-means, accuracy of assigned classes",
    "kmeans_nmi": "k-means, normalized mutual information",
    "kmeans_ari": "k-means, adjusted Rand index",
    "kmeans_v_measure": "k-means, V-measure",
    "trustworthiness": "trustworthiness of 5 neighbors",
    "map_accuracy": "5 nearest points of the map, accuracy",
}
# Name -> what a person calls it, and its unit. Other names are shown as they are.
_NAMES = {
    "rmse": ("RMSE", "of the pixel range 0..1"),
    "psnr": ("PSNR", "dB, of the mean squared error"),
    "mse": ("MSE", "of the pixel range 0..1, squared"),
    "ssim": ("SSIM", "structural similarity, at most 1"),
    "ssim_loss": ("SSIM loss", "1 - SSIM, times its weight"),
}


def measure_name(name: str, loss: str) -> str:
    """What a person calls a measure or a score; `loss` is the objective's name."""
    if name == "loss":
        return f"loss ({loss})"
    return _NAMES[name][0] if name in _NAMES else _SCORES.get(name, name.replace("_", " "))


def show_quality(title: str, loss: str, quality: Mapping[str, Any]) -> None:
    """The reconstruction quality of a split as a table; `loss` is the objective's name."""
    added = [_NAMES.get(name, (name,))[0] for name in quality if name.endswith("_loss")]
    unit = "nats a pixel" if loss == "bce" else "a pixel"
    unit = f"{unit}, and {' and '.join(added)}" if added else unit
    names = {**_NAMES, "loss": (f"loss ({loss})", unit)}
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
    """The embedding's scores beside those of PCA and pixels, and the confusion matrix."""
    best = quality.best_pca_dimensions
    columns = {
        "embedding": f"embedding ({quality.dimensions})",
        "pca": f"PCA ({quality.pca_dimensions})",
        "best_pca": f"best PCA ({best})",
        "pixels": "raw pixels",
    }
    kinds = [kind for kind in columns if kind != "best_pca" or best is not None]
    rows = [
        (_SCORES.get(name, name), *(f"{by[kind]:.4f}" if kind in by else "" for kind in kinds))
        for name, by in quality.scores.items()
    ]
    if rows:
        show_table("", ("measure", *(columns[kind] for kind in kinds)), rows)
    if not unseen:
        say("no classifiers: they learn from the training split; try --split test")
    elif quality.confusion is None:
        say("no classifiers: the dataset has no labels")
    elif len(class_names) <= _MOST_CLASSES:
        numbers = [[str(count) for count in counts] for counts in quality.confusion]
        rows = [(name, *counts) for name, counts in zip(class_names, numbers, strict=True)]
        title = f"{quality.neighbors} nearest neighbors: class and predictions"
        show_table(title, ("", *map(str, range(len(rows)))), rows)


def say(*lines: object) -> None:
    """Prints lines of text at once. What a file name may hold is escaped."""
    for line in lines:
        print(escaped(str(line)))
    sys.stdout.flush()


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: text at the left, numbers at the right. No cell is read as markup."""
    heads = map(escape, columns)
    if title:  # as a line of its own, because a table wraps its title to its own width
        say(title)
    table = Table(*heads, box=None, pad_edge=False)
    for index, column in enumerate(table.columns):
        if all(row[index].removeprefix("-")[:1].isdigit() for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(*map(_plain, row))
    console().print(table)


def _plain(cell: str) -> Text:
    return Text(escaped(cell))


def console() -> Console:
    """Standard output: without colored numbers, and 120 columns wide if it is no terminal."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=120)
