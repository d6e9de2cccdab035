"""Two coordinates for every vector of an embedding, to be drawn."""

from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from flaxae.evaluation.pca import principal_plane

_NEIGHBORS = 15  # UMAP's own default, which small sets cannot have


class Plane(NamedTuple):
    """Where the points lie, and what the axes are."""

    kind: str  # "latent", "umap" or "pca"
    points: Float32[np.ndarray, "examples 2"]
    axes: tuple[str, str]


def lay_out(vectors: Float32[np.ndarray, "examples dimensions"], umap: bool) -> Plane:
    """The two numbers of an embedding themselves; else UMAP's plane, or PCA's.

    UMAP's only with `umap`, and if umap-learn is installed. A single number becomes a line.
    """
    count, dimensions = vectors.shape
    if dimensions == 2:
        return Plane("latent", vectors, ("first number", "second number"))
    if umap and dimensions > 2 and count > _NEIGHBORS and _has_umap():
        return Plane("umap", _umap(vectors), ("UMAP 1", "UMAP 2"))
    points, shares = principal_plane(vectors)
    first, second = (f"component {n} ({s:.0%} of the variance)" for n, s in enumerate(shares, 1))
    return Plane("pca", points, (first, second))


def _has_umap() -> bool:
    """Whether umap-learn is installed; a folder called umap could be imported too."""
    try:
        return bool(version("umap-learn"))
    except PackageNotFoundError:
        return False


def _umap(vectors: Float32[np.ndarray, "examples dimensions"]) -> np.ndarray:
    import umap  # pyright: ignore[reportMissingImports] # which a user may have installed

    # One thread: only then is the plane the same each time.
    model = umap.UMAP(n_neighbors=_NEIGHBORS, random_state=0, n_jobs=1)
    return np.asarray(model.fit_transform(vectors), np.float32)
