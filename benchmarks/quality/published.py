"""Published results on Fashion-MNIST, and a table of them beside ours.

Sainburg, McInnes and Gentner, "Parametric UMAP", Neural Computation 2021: 50,000 images train and
10,000 test, as here; 9.3 million weights, 50 epochs (VAE: 30). The figures are those of the
notebooks of timsainb/ParametricUMAP_paper.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.common.spread import spread


class Published(NamedTuple):
    """A published result."""

    numbers: int
    method: str
    nn1: float  # accuracy of the nearest neighbor
    nn5: float  # of 5 neighbors
    mse: float  # of the test split


PUBLISHED = (
    Published(2, "PCA", 0.4467, 0.5055, 0.0461),
    Published(2, "autoencoder", 0.6816, 0.7339, 0.0244),
    Published(2, "VAE", 0.6646, 0.7161, 0.0253),
    Published(2, "parametric UMAP", 0.6941, 0.7407, 0.0266),
    Published(2, "UMAP", 0.7144, 0.7608, 0.0347),
    Published(64, "PCA", 0.8398, 0.8568, 0.0104),
    Published(64, "autoencoder", 0.8671, 0.8756, 0.0054),
    Published(64, "VAE", 0.8747, 0.8830, 0.0058),
)
_HEADER = """\
| numbers | method | 1-NN, % | 5-NN, % | MSE |
|---|---|---|---|---|"""


def beside_published(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The table in Markdown; `rows` are those of the report, of which Fashion-MNIST's are taken."""
    lines: list[tuple[Any, ...]] = [
        (p.numbers, f"{p.method}, published", f"{100 * p.nn1:.1f}", f"{100 * p.nn5:.1f}", p.mse)
        for p in PUBLISHED
    ]
    for name, row in rows.items():
        if "Fashion-MNIST" in name:
            runs = row["runs"]
            scores = [
                spread([100 * run["scores"][key]["embedding"] for run in runs], 1)
                for key in ("nn1_accuracy", "knn_accuracy")
            ]
            mse = spread([run["mse"] for run in runs], 4)
            lines.append((runs[0]["dimensions"], f"**{name}**", *scores, mse))
    lines.sort(key=lambda line: line[0])
    return "\n".join([_HEADER, *(f"| {' | '.join(map(str, line))} |" for line in lines)])
