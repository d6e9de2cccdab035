"""Principal components, in chunks: a large split needs no second copy of itself in memory."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Num

_CHUNK = 8192  # rows taken to float64 at once
_LARGEST = 4096  # side of a matrix whose eigenvectors take less than a minute


class Projection(NamedTuple):
    """The directions along which vectors differ most, the strongest first."""

    mean: Float[np.ndarray, " dimensions"]
    components: Float[np.ndarray, "count dimensions"]  # orthonormal rows
    variance_ratio: Float[np.ndarray, " count"]  # of the total variance, each in 0..1


def fit_pca(vectors: Num[np.ndarray, "examples dimensions"], count: int) -> Projection:
    """The first `count` principal components, or as many as there are dimensions and examples.

    Exact up to 4,096 dimensions; beyond, from 4,096 examples evenly spread. A component's largest
    entry is positive, so that the same vectors give the same picture.
    """
    if vectors.shape[1] > _LARGEST:
        step = -(-len(vectors) // _LARGEST)
        vectors = vectors[::step]
    mean = vectors.mean(axis=0, dtype=np.float64)
    few = len(vectors) <= _LARGEST < vectors.shape[1]
    components, variances, total = (_from_gram if few else _from_covariance)(vectors, mean, count)
    largest = np.abs(components).argmax(axis=1, keepdims=True)
    signs = np.where(np.take_along_axis(components, largest, axis=1) < 0, -1, 1)
    share = np.clip(variances / max(total, np.finfo(float).tiny), 0, 1)
    return Projection(mean, components * signs, share)


def project(
    projection: Projection, vectors: Num[np.ndarray, "examples dimensions"]
) -> Float32[np.ndarray, "examples count"]:
    """The coordinates of vectors along the components."""
    coordinates = np.empty((len(vectors), len(projection.components)), np.float32)
    for first in range(0, len(vectors), _CHUNK):
        centered = vectors[first : first + _CHUNK] - projection.mean
        coordinates[first : first + _CHUNK] = centered @ projection.components.T
    return coordinates


def _from_covariance(
    vectors: Num[np.ndarray, "examples dimensions"],
    mean: Float[np.ndarray, " dimensions"],
    count: int,
) -> tuple[Float[np.ndarray, "count dimensions"], Float[np.ndarray, " count"], float]:
    """Components, their variances and the total variance, summed in float64."""
    covariance = np.zeros((vectors.shape[1], vectors.shape[1]))
    for first in range(0, len(vectors), _CHUNK):
        centered = vectors[first : first + _CHUNK] - mean
        covariance += centered.T @ centered / len(vectors)
    values, columns = _strongest(covariance, count)
    return columns.T, values, float(np.trace(covariance))


def _from_gram(
    vectors: Num[np.ndarray, "examples dimensions"],
    mean: Float[np.ndarray, " dimensions"],
    count: int,
) -> tuple[Float[np.ndarray, "count dimensions"], Float[np.ndarray, " count"], float]:
    """The same from the smaller matrix of the products between examples."""
    centered = vectors - mean
    gram = centered @ centered.T / len(vectors)
    values, columns = _strongest(gram, count)
    components = columns.T @ centered
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    # Where the examples do not differ any more, rounding alone would give a direction.
    real = lengths > 1e-6 * lengths.max()
    components = np.where(real, components / np.where(real, lengths, 1), 0)
    return components, values, float(np.trace(gram))


def _strongest(
    matrix: Float[np.ndarray, "side side"], count: int
) -> tuple[Float[np.ndarray, " count"], Float[np.ndarray, "side count"]]:
    """The largest eigenvalues of a symmetric matrix, downwards, and their vectors as columns."""
    side = len(matrix)
    import scipy.linalg  # a tenth of a second that `reconstruct` can do without

    values, columns = scipy.linalg.eigh(matrix, subset_by_index=(max(side - count, 0), side - 1))
    return values[::-1], columns[:, ::-1]
