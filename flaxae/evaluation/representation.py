"""What a representation of images says about their classes and neighborhoods, by scikit-learn."""

import warnings

import numpy as np
from jaxtyping import Float32, Int, Num
from scipy.optimize import linear_sum_assignment
from scipy.stats import mode
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.metrics import (
    adjusted_rand_score,
    confusion_matrix,
    normalized_mutual_info_score,
    v_measure_score,
)
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBORS = 5
# Sizes of random samples with a fixed seed, which bound time and memory and hardly change a score.
PROBED = 10_000  # training examples of the linear probe, the same for every representation
_TRUSTED = 2_000  # examples of trustworthiness, whose time is quadratic in their number
_ITERATIONS = 200  # of the linear probe

Vectors = Num[np.ndarray, "examples dimensions"]
Tested = Num[np.ndarray, "tested dimensions"]
Labels = Int[np.ndarray, " examples"]
TestedLabels = Int[np.ndarray, " tested"]


def class_scores(
    train: Vectors, test: Tested, train_labels: Labels, test_labels: TestedLabels
) -> tuple[dict[str, float], TestedLabels]:
    """Scores in 0..1 (the adjusted Rand index: -0.5..1), and the classes by 5 neighbors.

    `nn1_accuracy` and `knn_accuracy` take the class of the nearest vector of `train`, and the
    majority of the 5 nearest, by Euclidean distance. `linear_probe_accuracy` is that of logistic
    regression on standardized features. The others compare k-means on `test`, with as many
    clusters as it has classes, with the labels: accuracy by the best assignment of clusters to
    classes, normalized mutual information, adjusted Rand index and V-measure.
    """
    nearest = nearest_labels(train, test, train_labels)
    answers = majority(nearest)
    clusters = kmeans(test, len(np.unique(test_labels)))
    scores = {
        "nn1_accuracy": _accuracy(nearest[:, 0], test_labels),
        "knn_accuracy": _accuracy(answers, test_labels),
        "linear_probe_accuracy": _accuracy(probe_answers(train, test, train_labels), test_labels),
        "kmeans_accuracy": assigned_accuracy(clusters, test_labels),
        "kmeans_nmi": float(normalized_mutual_info_score(test_labels, clusters)),
        "kmeans_ari": float(adjusted_rand_score(test_labels, clusters)),
        "kmeans_v_measure": float(v_measure_score(test_labels, clusters)),
    }
    return scores, answers


def nearest_labels(
    train: Vectors, test: Tested, labels: Labels
) -> Int[np.ndarray, "tested neighbors"]:
    """The labels of the 5 nearest rows of `train` for each row of `test`, the nearest first."""
    # Brute force, because trees are slower in more than about 15 dimensions.
    model = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(train)), algorithm="brute")
    return labels[model.fit(floats(train)).kneighbors(floats(test), return_distance=False)]


def majority(labels: Int[np.ndarray, "tested neighbors"]) -> TestedLabels:
    """The most frequent label of each row; of several, the smallest."""
    return mode(labels, axis=1).mode


def probe_answers(train: Vectors, test: Tested, labels: Labels) -> TestedLabels:
    """Labels for `test` by logistic regression on at most 10,000 rows of `train`.

    The features are standardized by the mean and standard deviation of these rows.
    """
    rows = sample_rows(len(train), PROBED)
    if len(np.unique(labels[rows])) == 1:  # LogisticRegression needs two classes
        return np.full(len(test), labels[0])
    regression = LogisticRegression(C=0.1, max_iter=_ITERATIONS, tol=1e-3)
    model = make_pipeline(StandardScaler(), regression)
    with warnings.catch_warnings():
        # More iterations improve the fit to the training examples, but not the test accuracy.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(floats(train[rows]), labels[rows])
    return model.predict(floats(test))


def kmeans(vectors: Tested, clusters: int) -> TestedLabels:
    """The cluster of each vector, the best of ten starts with a fixed seed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than clusters
        model = KMeans(clusters, n_init=10, random_state=0)  # pyright: ignore[reportArgumentType]
        return model.fit_predict(floats(vectors))


def assigned_accuracy(clusters: TestedLabels, labels: TestedLabels) -> float:
    """The share of examples whose cluster is assigned to their class, for the best assignment."""
    _, classes = np.unique(labels, return_inverse=True)
    most = 1 + max(classes.max(), clusters.max(), 1)  # scikit-learn warns of a single label
    counts = confusion_matrix(classes, clusters, labels=range(most))
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def neighborhood_score(pixels: Tested, vectors: Num[np.ndarray, "tested _"]) -> float | None:
    """Trustworthiness for 5 neighbors, on a fixed sample; None for fewer than three examples.

    It tells how many neighbors among the vectors are also neighbors among the pixels (Venna and
    Kaski 2001, as scikit-learn defines it).
    """
    rows = sample_rows(len(pixels), _TRUSTED)
    neighbors = min(NEIGHBORS, (len(rows) - 1) // 2)  # scikit-learn requires fewer than half
    if neighbors < 1:
        return None
    return float(trustworthiness(floats(pixels[rows]), vectors[rows], n_neighbors=neighbors))


def sample_rows(count: int, most: int) -> Int[np.ndarray, " sample"]:
    """The indices of all rows, or of `most` random ones, sorted and with a fixed seed."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def floats(vectors: Num[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Pixels 0..255 as 0..1; vectors as they are."""
    return vectors / np.float32(255) if vectors.dtype == np.uint8 else vectors


def _accuracy(answers: TestedLabels, labels: TestedLabels) -> float:
    return float(np.mean(answers == labels))
