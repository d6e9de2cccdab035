"""The nearest neighbors of every vector among the others, by scikit-learn."""

import numpy as np
from jaxtyping import Int, Int32, Num

from flaxae.evaluation.representation import NEIGHBORS, floats, majority

SHOWN = 8


def neighbors_among(
    vectors: Num[np.ndarray, "examples dimensions"], count: int = SHOWN
) -> Int32[np.ndarray, "examples neighbors"]:
    """The rows of the nearest other vectors by Euclidean distance, the nearest first.

    There are fewer than `count` if there are fewer other vectors.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(vectors) - 1)
    if count < 1:
        return np.zeros((len(vectors), 0), np.int32)
    # Brute force, because trees are slower in more than about 15 dimensions.
    model = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(floats(vectors))
    return model.kneighbors(return_distance=False).astype(np.int32)


def classes_by_neighbors(
    neighbors: Int32[np.ndarray, "examples neighbors"], labels: Int[np.ndarray, " examples"]
) -> Int[np.ndarray, " examples"] | None:
    """The majority of the classes of the 5 nearest; None if there are no neighbors."""
    return majority(labels[neighbors[:, :NEIGHBORS]]) if neighbors.shape[1] else None


def agreement(
    vectors: Num[np.ndarray, "examples dimensions"], labels: Int[np.ndarray, " examples"]
) -> float | None:
    """The share of vectors whose 5 nearest others have, in their majority, the same class."""
    answers = classes_by_neighbors(neighbors_among(vectors, NEIGHBORS), labels)
    return None if answers is None else float(np.mean(answers == labels))
