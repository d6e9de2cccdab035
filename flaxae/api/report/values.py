"""The numbers of a page: of the model, of PCA and of pixels."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flaxae.data.splits import Split
from flaxae.evaluation.embedding import Embedding
from flaxae.evaluation.neighbors import agreement
from flaxae.evaluation.pca import fit_pca, project, unexplained
from flaxae.evaluation.representation import floats, sample_rows

if TYPE_CHECKING:
    from flaxae.api.run import Run

_FITTED = 20_000  # training images that PCA is fitted to
_MOST_FITTED = 2**29  # their pixels, beyond which there is no PCA
_MOST_QUICK = 2**26  # pixels that the small page fits PCA to, or searches neighbors of

Values = dict[str, dict[str, float]]  # measure -> "embedding", "pca" and so on -> value


def whole_values(run: "Run", part: Split, split: str | None) -> Values:
    """Everything that `evaluate` measures; of images without a split, their reconstruction."""
    quality = run.evaluate(images=part) if split is None else run.evaluate(split)
    values: Values = {
        name: {"embedding": value} for name, value in quality.items() if name != "examples"
    }
    if split is not None:
        _add_pca(run, part, run.dimensions, values, _MOST_FITTED)
        values |= run.evaluate_embedding(split).scores
    return values


def quick_values(run: "Run", part: Split, embedding: Embedding) -> Values:
    """What takes little time: of test images."""
    values: Values = {}
    mse = float(embedding.errors.mean(dtype=np.float64))
    values["mse"] = {"embedding": mse}
    values["rmse"] = {"embedding": math.sqrt(mse)}
    values["psnr"] = {"embedding": _psnr(mse)}
    is_small = math.prod(part.images.shape) <= _MOST_QUICK
    dimensions = embedding.vectors.shape[1]
    pca = _add_pca(run, part, dimensions, values, _MOST_QUICK) if is_small else None
    if part.labels is not None:
        ways = {"embedding": embedding.vectors}
        if is_small:
            pixels = floats(_flat(part.images))
            ways |= {"pixels": pixels} if pca is None else {"pca": pca, "pixels": pixels}
        found = {kind: agreement(vectors, part.labels) for kind, vectors in ways.items()}
        values["map_accuracy"] = {k: v for k, v in found.items() if v is not None}
    return values


def _add_pca(
    run: "Run", part: Split, dimensions: int, values: Values, most: int
) -> np.ndarray | None:
    """Adds the errors of a PCA of as many numbers, and of pixels; returns its vectors.

    There is none if it would be fitted to more than `most` pixels of training images.
    A denoising run has other targets than its inputs, which PCA knows nothing of.
    """
    train = run.splits["train"].images
    noisy = part.targets is not None or run.config.objective.noise_factor
    numbers = int(np.prod(part.image_shape))
    if noisy or numbers * min(len(train), _FITTED) > most:
        return None
    fitted = floats(_flat(train[sample_rows(len(train), _FITTED)]))
    projection = fit_pca(fitted, dimensions)
    size = max(2**24 // numbers, 1)
    errors, vectors = [], []
    for first in range(0, len(part.images), size):
        piece = floats(_flat(part.images[first : first + size]))
        errors.append(unexplained(projection, piece))
        vectors.append(project(projection, piece))
    mse = float(np.concatenate(errors).mean(dtype=np.float64))
    for name, value in {"mse": mse, "rmse": math.sqrt(mse), "psnr": _psnr(mse)}.items():
        if name in values and math.isfinite(value):
            values[name]["pca"] = value
    for name in ("mse", "rmse"):
        if name in values:
            values[name]["pixels"] = 0.0
    return np.concatenate(vectors)


def _psnr(mse: float) -> float:
    return -10 * math.log10(mse) if mse > 0 else math.inf


def _flat(images: Any) -> np.ndarray:
    array = np.asarray(images)
    return array.reshape(len(array), -1)
