"""Compares an embedding with PCA and raw pixels by classification and preserved neighborhoods.

Apart from pca.py, the only module that imports scikit-learn. That import is slow, so only
`evaluate` imports this module.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Num, UInt8
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flaxae.evaluation.pca import fit_pca, project

NEIGHBORS = 5
# Sizes of random samples with a fixed seed, which bound time and memory and hardly change a score.
_PROBED = 10_000  # training examples of the linear probe, the same for every representation
_TRUSTED = 2_000  # examples of trustworthiness, whose time is quadratic in their number
_MOST_NUMBERS = 2**28  # pixels times channels of a split, 1 GiB in float32; larger ones are sampled
_ITERATIONS = 200  # of the linear probe

Vectors = Num[np.ndarray, "examples dimensions"]
Labels = Int[np.ndarray, " examples"]
Tested = Num[np.ndarray, "tested dimensions"]


class Examples(NamedTuple):
    """The embedding of a split, with its images and labels."""

    vectors: Float32[np.ndarray, "examples dimensions"]
    images: UInt8[np.ndarray, "examples height width channels"]
    labels: Labels | None


class EmbeddingQuality(NamedTuple):
    """Scores in 0..1 for each representation: "embedding", "pca" and "pixels"."""

    dimensions: int
    pca_dimensions: int  # as `dimensions`, but at most the number of pixels or of examples
    neighbors: int
    reference_examples: int  # training examples of the kNN classifier
    probe_examples: int  # training examples of the linear probe
    knn_accuracy: dict[str, float] | None  # None without labels
    linear_probe_accuracy: dict[str, float] | None
    trustworthiness: dict[str, float] | None  # None for fewer than three examples
    confusion: list[list[int]] | None  # of kNN on the embedding: [class][prediction]


def embedding_quality(train: Examples, test: Examples, classes: int) -> EmbeddingQuality:
    """Scores the embedding of `test`, beside a PCA of its pixels and the pixels themselves.

    The PCA is fitted to the pixels of `train`, with as many components as the embedding has
    dimensions. If both splits have labels, kNN and a linear probe learn the classes from `train`.
    kNN predicts the majority class of the nearest vectors of `train` by Euclidean distance. The
    linear probe is logistic regression on standardized features. Trustworthiness tells how many
    neighbors in a representation are also neighbors among the pixels (Venna and Kaski 2001, as
    scikit-learn defines it); it does not use `train`.
    """
    most = max(_MOST_NUMBERS // int(np.prod(test.images.shape[1:])), NEIGHBORS)
    train, test = _sample(train, most), _sample(test, most)
    pca = fit_pca(_flat(train.images), train.vectors.shape[1])
    known = {
        "embedding": (train.vectors, test.vectors),
        "pca": (project(pca, _flat(train.images)), project(pca, _flat(test.images))),
        "pixels": (_flat(train.images), _flat(test.images)),
    }
    knn = probe = confusion = None
    if train.labels is not None and test.labels is not None:
        answers = {name: knn_answers(*pair, train.labels) for name, pair in known.items()}
        knn = {name: _accuracy(answer, test.labels) for name, answer in answers.items()}
        probe = {
            name: _accuracy(probe_answers(*pair, train.labels), test.labels)
            for name, pair in known.items()
        }
        confusion = confusion_matrix(
            test.labels, answers["embedding"], labels=range(classes)
        ).tolist()
    return EmbeddingQuality(
        dimensions=train.vectors.shape[1],
        pca_dimensions=len(pca.components),
        neighbors=NEIGHBORS,
        reference_examples=len(train.vectors),
        probe_examples=min(len(train.vectors), _PROBED),
        knn_accuracy=knn,
        linear_probe_accuracy=probe,
        trustworthiness=_trustworthiness({name: pair[1] for name, pair in known.items()}),
        confusion=confusion,
    )


def knn_answers(train: Vectors, test: Tested, labels: Labels) -> np.ndarray:
    """Returns the majority label of the nearest rows of `train` for each row of `test`."""
    # Brute force, because trees are slower in more than about 15 dimensions.
    model = KNeighborsClassifier(min(NEIGHBORS, len(train)), algorithm="brute")
    return model.fit(_floats(train), labels).predict(_floats(test))


def probe_answers(train: Vectors, test: Tested, labels: Labels) -> np.ndarray:
    """Returns labels for `test` by logistic regression on at most 10,000 rows of `train`.

    The features are standardized by the mean and standard deviation of these rows.
    """
    rows = _rows(len(train), _PROBED)
    if len(np.unique(labels[rows])) == 1:  # LogisticRegression needs two classes
        return np.full(len(test), labels[0])
    regression = LogisticRegression(C=0.1, max_iter=_ITERATIONS, tol=1e-3)
    model = make_pipeline(StandardScaler(), regression)
    with warnings.catch_warnings():
        # More iterations improve the fit to the training examples, but not the test accuracy.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_floats(train[rows]), labels[rows])
    return model.predict(_floats(test))


def _trustworthiness(known: dict[str, Vectors]) -> dict[str, float] | None:
    """Returns the trustworthiness of the embedding and of PCA on a fixed sample."""
    rows = _rows(len(known["pixels"]), _TRUSTED)
    neighbors = min(NEIGHBORS, (len(rows) - 1) // 2)  # scikit-learn requires fewer than half
    if neighbors < 1:
        return None
    pixels = _floats(known["pixels"][rows])
    return {
        name: float(trustworthiness(pixels, known[name][rows], n_neighbors=neighbors))
        for name in ("embedding", "pca")
    }


def _sample(examples: Examples, most: int) -> Examples:
    if len(examples.vectors) <= most:
        return examples
    rows = _rows(len(examples.vectors), most)
    labels = None if examples.labels is None else examples.labels[rows]
    return Examples(examples.vectors[rows], examples.images[rows], labels)


def _rows(count: int, most: int) -> Int[np.ndarray, " sample"]:
    """Returns the indices of all rows, or of `most` random ones, sorted and with a fixed seed."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _flat(images: UInt8[np.ndarray, "examples height width channels"]) -> Vectors:
    return images.reshape(len(images), -1)


def _floats(vectors: Vectors) -> Float32[np.ndarray, "examples dimensions"]:
    return vectors / np.float32(255) if vectors.dtype == np.uint8 else vectors


def _accuracy(answers: Labels, labels: Labels) -> float:
    return float(np.mean(answers == labels))
