"""Principal component analysis (PCA) with scikit-learn, in bounded memory."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Num

# Sizes are in numbers (examples times dimensions), which take 8 bytes each in float64.
_IN_MEMORY = 150_000_000  # more than this is fitted in batches
_BATCH = 2**22  # of IncrementalPCA and of `project`
_COVARIANCE_DIMENSIONS = 4096  # the covariance matrix has this many rows at most
_EXACT_WORK = 2**34  # components times numbers, beyond which the exact solvers are too slow
_EXTRA_COMPONENTS = 128  # computed by the inexact methods and dropped, for accuracy


class Projection(NamedTuple):
    """The mean of the vectors and their principal components, in order of falling variance."""

    mean: Float[np.ndarray, " dimensions"]
    components: Float[np.ndarray, "count dimensions"]  # orthonormal rows
    variance_ratio: Float[np.ndarray, " count"]  # share of the total variance, each in 0..1


def fit_pca(vectors: Num[np.ndarray, "examples dimensions"], count: int) -> Projection:
    """Computes the first `count` principal components.

    There are fewer components if there are fewer dimensions or examples than `count`. The largest
    entry of each component by absolute value is positive (scikit-learn's convention), so that the
    same vectors always give the same plot.

    The result is exact up to rounding in most cases. It is approximate in two: vectors that would
    need more than 1.2 GB in float64 are fitted in batches by IncrementalPCA, and vectors of more
    than 4,096 dimensions by the randomized solver, with a fixed seed, if there are too many of them
    or too many components for the exact solvers. Memory is bounded by one float64 copy of the
    vectors, or of a batch, and the workspace of the solver.
    """
    count = min(count, *vectors.shape)
    if np.array_equal(vectors.min(axis=0), vectors.max(axis=0)):
        # Without variance scikit-learn would divide zero by zero, and ARPACK fails.
        mean = vectors[0].astype(np.float64)
        return Projection(mean, np.eye(count, len(mean)), np.zeros(count))
    fit = _fit_in_memory if vectors.size <= _IN_MEMORY else _fit_in_batches
    return fit(vectors, count)


def project(
    projection: Projection, vectors: Num[np.ndarray, "examples dimensions"]
) -> Float32[np.ndarray, "examples count"]:
    """Returns the coordinates of the centered vectors along the components."""
    coordinates = np.empty((len(vectors), len(projection.components)), np.float32)
    rows = max(_BATCH // vectors.shape[1], 1)
    for first in range(0, len(vectors), rows):
        centered = vectors[first : first + rows] - projection.mean
        coordinates[first : first + rows] = centered @ projection.components.T
    return coordinates


def principal_plane(
    vectors: Num[np.ndarray, "examples dimensions"],
) -> tuple[Float32[np.ndarray, "examples 2"], list[float]]:
    """The coordinates on the first two components, and their shares of the variance, in 0..1.

    A component that a single example, or a single dimension, does not have is 0 everywhere.
    """
    pca = fit_pca(vectors, 2)
    points = project(pca, vectors)
    missing = 2 - points.shape[1]
    shares = [*map(float, pca.variance_ratio), *[0.0] * missing]
    return np.pad(points, ((0, 0), (0, missing))), shares


def unexplained(
    projection: Projection, vectors: Num[np.ndarray, "examples dimensions"]
) -> Float32[np.ndarray, " examples"]:
    """The mean squared error of each vector when it is rebuilt from its components."""
    errors = np.empty(len(vectors), np.float32)
    rows = max(_BATCH // vectors.shape[1], 1)
    for first in range(0, len(vectors), rows):
        centered = vectors[first : first + rows] - projection.mean
        kept = centered @ projection.components.T
        squares = (centered**2).sum(axis=1) - (kept**2).sum(axis=1)
        errors[first : first + rows] = np.maximum(squares, 0) / vectors.shape[1]
    return errors


# scikit-learn is slow to import, and commands that compute no PCA, such as `reconstruct`, import
# this module too. So the functions below import it themselves.


def _fit_in_memory(vectors: Num[np.ndarray, "examples dimensions"], count: int) -> Projection:
    from sklearn.decomposition import PCA

    # Centered here, because the covariance solver subtracts the mean only after multiplying, which
    # cancels the leading digits of vectors that are far from zero.
    mean = vectors.mean(axis=0, dtype=np.float64)
    examples, dimensions = vectors.shape
    solver = _choose_solver(examples, dimensions, count)
    pca: Any = PCA(  # Any, because pyright infers the attributes from before the fit
        count,
        svd_solver=solver,
        copy=False,
        n_oversamples=_EXTRA_COMPONENTS,  # only for "randomized"
        random_state=0,
    )
    pca.fit(vectors - mean)
    return Projection(mean, pca.components_, pca.explained_variance_ratio_)


def _choose_solver(examples: int, dimensions: int, count: int) -> str:
    """Returns the fastest exact solver, or "randomized" where all exact ones are too slow."""
    if dimensions <= _COVARIANCE_DIMENSIONS:
        return "covariance_eigh"
    if count * examples * dimensions > _EXACT_WORK:
        return "randomized"
    # ARPACK needs less time and memory than a full SVD, but cannot compute all components.
    return "arpack" if count < min(examples, dimensions) else "full"


def _fit_in_batches(vectors: Num[np.ndarray, "examples dimensions"], count: int) -> Projection:
    from sklearn.decomposition import IncrementalPCA

    examples, dimensions = vectors.shape
    kept = min(count + _EXTRA_COMPONENTS, examples, dimensions)
    # The first batch needs at least as many examples as components are kept.
    batches = examples // max(_BATCH // dimensions, kept)
    pca: Any = IncrementalPCA(kept, copy=False)  # Any: see above
    for first in range(batches):
        # Every batch is spread over all examples, so that sorted examples make no difference. The
        # variance ratio of a batch is 0 / 0 as long as all examples so far are equal.
        with np.errstate(invalid="ignore"):
            pca.partial_fit(vectors[first::batches].astype(np.float64))
    ratio = pca.explained_variance_ratio_
    return Projection(pca.mean_, pca.components_[:count], ratio[:count])
