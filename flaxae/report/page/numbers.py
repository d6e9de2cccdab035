"""The table of a run's numbers: each beside PCA and pixels, with a sentence on what it means."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flaxae.report.terminal import measure_name

COLUMNS = {
    "embedding": "this model",
    "pca": "PCA, same size",
    "best_pca": "best PCA",
    "pixels": "pixels",
}
_MEANINGS = {
    "loss": "What training minimized, a mean over pixels and images. Lower is better.",
    "mse": "Mean squared difference between image and reconstruction. Lower is better.",
    "rmse": "Its root: a typical difference of a pixel, in a range of 0 to 1. Lower is better.",
    "psnr": "The same in decibels; 6 dB more is half the difference. Higher is better.",
    "ssim": "Similarity of structure, as people see it; 1 is the same image. Higher is better.",
    "ssim_loss": "1 - SSIM times its weight: a part of the loss. Lower is better.",
    "nn1_accuracy": "How often the nearest training image has the same class.",
    "knn_accuracy": "How often the majority of the 5 nearest training images has the same class.",
    "linear_probe_accuracy": "How often a linear classifier on these numbers is right.",
    "kmeans_accuracy": "How often groups found without labels agree with the classes.",
    "kmeans_nmi": "How much such groups tell about the classes, from 0 to 1.",
    "kmeans_ari": "Agreement of such groups with the classes; 0 is chance, 1 is perfect.",
    "kmeans_v_measure": "Whether such groups hold one class each, and classes one group each.",
    "trustworthiness": "Whether neighbors here are neighbors in pixels too; 1 is always.",
    "map_accuracy": "How often the majority of the 5 nearest points of the map has the same class.",
}
_LOWER_IS_BETTER = ("loss", "mse", "rmse", "ssim_loss")


class Number(NamedTuple):
    """A row of the table; `values` has some of the keys of COLUMNS."""

    name: str
    values: Mapping[str, float]
    meaning: str
    lower: bool | None  # whether lower is better; None if nobody knows
    pixels_win: bool  # by definition: they reconstruct themselves

    def is_best(self, kind: str) -> bool:
        """Whether no other column is better than `kind`."""
        if len(self.values) < 2 or kind not in self.values or self.lower is None:
            return False
        choose = min if self.lower else max
        rivals = {k: v for k, v in self.values.items() if not (self.pixels_win and k == "pixels")}
        return kind in rivals and rivals[kind] == choose(rivals.values())


def numbers(values: Mapping[str, Mapping[str, float]], loss: str) -> list[Number]:
    """The rows; `values` is name -> kind -> value, and `loss` the name of the objective."""
    order = [*_MEANINGS]
    names = sorted(values, key=lambda n: order.index(n) if n in order else 0)
    return [
        Number(
            measure_name(name, loss),
            {kind: values[name][kind] for kind in COLUMNS if kind in values[name]},
            _MEANINGS.get(name, "A measure of the objective."),
            _is_lower_better(name),
            name in (*_LOWER_IS_BETTER, "trustworthiness"),
        )
        for name in names
    ]


def _is_lower_better(name: str) -> bool | None:
    """Of a measure by its name; None for one that an objective of one's own has named."""
    if name in _LOWER_IS_BETTER or name.endswith("_loss"):
        return True
    return False if name in _MEANINGS else None


def used_columns(rows: list[Number]) -> dict[str, str]:
    """The columns that some row has a value for."""
    return {k: title for k, title in COLUMNS.items() if any(k in row.values for row in rows)}


def text(value: Any) -> str:
    """A number with as many digits as it needs."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if abs(value) >= 10:
        return f"{value:,.2f}"
    return f"{value:.4f}" if abs(value) >= 0.01 or value == 0 else f"{value:.3g}"
