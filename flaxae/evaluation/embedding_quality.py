"""Compares an embedding with PCA and raw pixels, by classes and by neighborhoods.

scikit-learn takes a second to import, so `Run.evaluate_embedding` imports this module only when it
is called.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8
from sklearn.metrics import confusion_matrix

from flaxae.data.store.images import StoredImages
from flaxae.evaluation.baselines import Pixels, baselines
from flaxae.evaluation.representation import (
    NEIGHBORS,
    PROBED,
    class_scores,
    neighborhood_score,
    sample_rows,
)

_MOST_NUMBERS = 2**28  # pixels times channels of a split, 1 GiB in float32; larger ones are sampled


class Examples(NamedTuple):
    """The embedding of a split, with its images and labels."""

    vectors: Float32[np.ndarray, "examples dimensions"]
    images: UInt8[np.ndarray, "examples height width channels"] | StoredImages
    labels: Int[np.ndarray, " examples"] | None


class EmbeddingQuality(NamedTuple):
    """Scores by name, and for each the values of "embedding", "pca", "best_pca" and "pixels".

    The names are those of `representation.class_scores`, and "trustworthiness". Without labels,
    only the latter is there.
    """

    dimensions: int
    pca_dimensions: int  # as `dimensions`, but at most the number of pixels or of examples
    best_pca_dimensions: int | None  # with the highest accuracy of 5 neighbors on these examples
    neighbors: int
    reference_examples: int  # training examples of the nearest neighbors
    probe_examples: int  # training examples of the linear probe
    scores: dict[str, dict[str, float]]
    confusion: list[list[int]] | None  # of 5 neighbors in the embedding: [class][prediction]


def embedding_quality(
    train: Examples, test: Examples, classes: int, folder: Path
) -> EmbeddingQuality:
    """Scores the embedding of `test`, beside PCAs of its pixels and the pixels themselves.

    The PCAs are fitted to the pixels of `train`. If both splits have labels, classifiers learn
    them from `train`. `folder` keeps the scores of PCA and pixels, which depend on no model.
    """
    most = max(_MOST_NUMBERS // int(np.prod(test.images.shape[1:])), NEIGHBORS)
    train, train_images = _sample(train, most)
    test, test_images = _sample(test, most)
    labeled = train.labels is not None and test.labels is not None
    labels = (train.labels, test.labels) if labeled else (None, None)
    dimensions = train.vectors.shape[1]
    known = baselines(Pixels(train_images, test_images, *labels), dimensions, folder)
    own: dict[str, float] = {}
    confusion = None
    if train.labels is not None and test.labels is not None:
        own, answers = class_scores(train.vectors, test.vectors, train.labels, test.labels)
        two_or_more = range(max(classes, 2))  # scikit-learn warns of a single label
        counts = confusion_matrix(test.labels, answers, labels=two_or_more)
        confusion = counts[:classes, :classes].tolist()
    trust = neighborhood_score(test_images.reshape(len(test_images), -1), test.vectors)
    if trust is not None:
        own["trustworthiness"] = trust
    kinds = {
        "embedding": own,
        "pca": known.pca,
        "best_pca": known.best_pca,
        "pixels": known.pixels,
    }
    return EmbeddingQuality(
        dimensions=dimensions,
        pca_dimensions=min(dimensions, int(np.prod(train_images.shape[1:])), len(train_images)),
        best_pca_dimensions=known.best_pca_dimensions,
        neighbors=NEIGHBORS,
        reference_examples=len(train.vectors),
        probe_examples=min(len(train.vectors), PROBED),
        scores={
            name: {kind: values[name] for kind, values in kinds.items() if name in values}
            for name in own
        },
        confusion=confusion,
    )


def _sample(examples: Examples, most: int) -> tuple[Examples, np.ndarray]:
    """At most so many examples, and their images in memory."""
    if len(examples.vectors) <= most:
        return examples, np.asarray(examples.images)
    rows = sample_rows(len(examples.vectors), most)
    labels = None if examples.labels is None else examples.labels[rows]
    images = examples.images[rows]
    return Examples(examples.vectors[rows], images, labels), images
