import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from flaxae.evaluation.representation import (
    assigned_accuracy,
    kmeans,
    majority,
    nearest_labels,
    probe_answers,
)
from tests.fixtures.clusters import clusters


def test_knn_predicts_the_majority_of_five_neighbors():
    train = np.array([[0], [1], [2], [3], [4], [100], [101]], np.float32)
    labels = np.array([0, 0, 1, 1, 1, 0, 0], np.int32)

    def answers(test):
        return majority(nearest_labels(train, np.array(test, "f4"), labels))

    np.testing.assert_array_equal(answers([[0], [99]]), [1, 1])
    alone = majority(nearest_labels(train[:1], train, labels[:1]))
    np.testing.assert_array_equal(alone, [0] * 7)


def test_one_neighbor_is_the_nearest():
    train, labels = np.array([[0], [1], [5]], np.float32), np.array([4, 7, 9], np.int32)
    nearest = nearest_labels(train, np.array([[0.9], [4]], np.float32), labels)
    np.testing.assert_array_equal(nearest, [[7, 4, 9], [9, 7, 4]])


def test_neighbors_answer_as_scikit_learns_classifier():
    train, test = clusters(80, 0, noise=0.8), clusters(40, 1, noise=0.8)
    model = KNeighborsClassifier(5).fit(train.vectors, train.labels)
    found = majority(nearest_labels(train.vectors, test.vectors, train.labels))
    np.testing.assert_array_equal(found, model.predict(test.vectors))


def test_clusters_are_assigned_to_classes_for_the_best_accuracy():
    """By hand: 0 -> a, 1 -> b and 2 -> c agree on 2 + 1 + 3 of 8."""
    labels = np.array([10, 10, 10, 20, 20, 30, 30, 30])
    found = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    assert assigned_accuracy(found, labels) == 6 / 8
    assert assigned_accuracy(2 - found, labels) == 6 / 8


def test_kmeans_finds_clusters_and_is_the_same_each_time():
    test = clusters(60, 0)
    found = kmeans(test.vectors, 3)
    assert assigned_accuracy(found, test.labels) == 1
    np.testing.assert_array_equal(found, kmeans(test.vectors, 3))


def test_more_clusters_than_distinct_vectors():
    assert set(kmeans(np.zeros((5, 2), np.float32), 3)) == {0}


def test_the_probe_is_invariant_to_the_scale_of_features():
    train, test = clusters(60, 0), clusters(30, 1, noise=0.4)
    assert train.labels is not None
    scale = np.float32([1, 1e4, 1e-4, 3, 7])
    plain = probe_answers(train.vectors, test.vectors, train.labels)
    np.testing.assert_array_equal(
        probe_answers(train.vectors * scale, test.vectors * scale, train.labels), plain
    )


def test_the_probe_uses_the_same_ten_thousand_examples_each_time(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "flaxae.evaluation.representation.make_pipeline", lambda *steps: Recorder(seen, steps)
    )
    train = np.arange(10_500, dtype=np.float32)[:, None]
    for _ in range(2):
        probe_answers(train, train[:1], (train[:, 0] % 2).astype(np.int32))
    assert len(seen[0]) == len(np.unique(seen[0])) == 10_000
    np.testing.assert_array_equal(seen[0], seen[1])


class Recorder:
    def __init__(self, seen, steps):
        self.seen = seen

    def fit(self, train, labels):
        self.seen.append(train[:, 0])

    def predict(self, test):
        return test[:, 0].astype(np.int32)
