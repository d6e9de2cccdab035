"""Detectors without an autoencoder, to be compared with: mean image, PCA, neighbors of pixels."""

import numpy as np
from jaxtyping import Float, Float32, Shaped

from flaxae.data.store.images import StoredImages
from flaxae.evaluation.pca import Projection, fit_pca, project
from flaxae.evaluation.representation import floats, sample_rows
from flaxae.evaluation.scoring.scores import distances, fitted

PCA_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
_MOST_NUMBERS = 2**27  # pixels times channels of the training images, half a GiB in float32
_ROWS = 1024  # images at a time
_PIXELS = 500  # times channels, below which the covariance is small

Pixels = Shaped[np.ndarray, "_ height width channels"] | StoredImages  # uint8, or floats in 0..1
Flat = Float32[np.ndarray, "_ _"]
Values = Float32[np.ndarray, " _"]


def baseline_scores(training: Pixels, held_out: Pixels, images: Pixels) -> dict[str, Values]:
    """The scores of images by the mean image, a PCA and the 5 nearest training images, by name.

    Those of mean image and PCA are the mean squared error. All three are fitted to the training
    images, and the PCA has the size under which held-out images are the most probable.
    """
    most = max(_MOST_NUMBERS // int(np.prod(training.shape[1:])), 1)
    train = _flat(training[sample_rows(len(training), most)])
    whole = components_of(train, PCA_SIZES[-1])
    variances = whole.variance_ratio * train.var(axis=0, dtype=np.float64).sum()
    total = float(train.var(axis=0, dtype=np.float64).sum())
    size = pca_size(whole, variances, total, _flat(held_out[:]))
    nearest, mean = fitted(train), train.mean(axis=0)
    parts: list[tuple[Values, ...]] = []
    for first in range(0, len(images), _ROWS):
        flat = _flat(images[first : first + _ROWS])
        squares = ((flat - mean) ** 2).mean(axis=1)
        parts.append((squares, _residual(whole, size, flat), distances(nearest, flat)))
    names = ("mean image", f"PCA of {size}", "5 neighbors of pixels")
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return dict(zip(names, columns, strict=True))


def components_of(train: Flat, count: int) -> Projection:
    """The principal components; of fewer images than pixels, by the images' products.

    The covariance of 64x64 pixels would take twenty times as long as the products of 1,000 images.
    """
    images, pixels = train.shape
    if images >= pixels or pixels < _PIXELS:
        return fit_pca(train, count)
    mean = train.mean(axis=0, dtype=np.float64)
    centered = train - mean
    squares, left = np.linalg.eigh(centered @ centered.T)
    kept = np.flatnonzero(squares > 1e-9 * max(squares.max(), 1e-9))[::-1][:count]
    components = (left[:, kept] / np.sqrt(squares[kept])).T @ centered
    return Projection(mean, components, squares[kept] / max(squares.sum(), 1e-9))


def pca_size(
    whole: Projection,
    variances: Float[np.ndarray, " count"],
    total: float,
    held_out: Float32[np.ndarray, "_ pixels"],
) -> int:
    """The number of components, of `PCA_SIZES`, with the largest held-out likelihood.

    The likelihood is that of probabilistic PCA (Tipping and Bishop 1999): the error itself falls
    with every component, and would always choose the most. `variances` are the components'.
    """
    dimensions = held_out.shape[1]
    coordinates = project(whole, held_out).astype(np.float64) ** 2
    squares = ((held_out - whole.mean) ** 2).sum(axis=1)
    best, largest = 1, -np.inf
    for size in PCA_SIZES:
        if size > len(whole.components) or size >= dimensions:
            break
        kept = np.maximum(variances[:size], 1e-12)
        noise = max((total - variances[:size].sum()) / (dimensions - size), 1e-12)
        rest = squares - coordinates[:, :size].sum(axis=1)
        distance = (coordinates[:, :size] / kept).sum(axis=1) + rest / noise
        volume = np.log(kept).sum() + (dimensions - size) * np.log(noise)
        likelihood = -(distance.mean() + volume) / 2
        if likelihood > largest:
            best, largest = size, likelihood
    return best


def _residual(whole: Projection, size: int, flat: Flat) -> Values:
    first = whole._replace(components=whole.components[:size])
    squares = ((flat - whole.mean) ** 2).sum(axis=1) - (project(first, flat) ** 2).sum(axis=1)
    return (np.maximum(squares, 0) / flat.shape[1]).astype(np.float32)


def _flat(images: Pixels) -> Flat:
    return floats(np.asarray(images)).reshape(len(images), -1)
