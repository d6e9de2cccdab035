import numpy as np
import pytest

from flaxae.evaluation.embedding_quality import (
    Examples,
    embedding_quality,
    knn_answers,
    probe_answers,
)


def clusters(count, seed, noise=0.05, classes=3):
    """Images whose brightest pixel depends on the class, and one-hot vectors with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % classes
    images = rng.integers(0, 20, (count, 4, 4, 1), np.uint8)
    images[np.arange(count), labels, labels, 0] = 250
    vectors = np.eye(classes, 5, dtype=np.float32)[labels]
    return Examples(
        vectors + rng.normal(scale=noise, size=vectors.shape).astype("f4"), images, labels
    )


def test_separable_classes_have_accuracy_one():
    quality = embedding_quality(clusters(90, 0), clusters(30, 1), 3)
    ones = {"embedding": 1.0, "pca": 1.0, "pixels": 1.0}
    assert quality.knn_accuracy == quality.linear_probe_accuracy == ones
    assert quality.confusion == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert (quality.dimensions, quality.pca_dimensions, quality.neighbors) == (5, 5, 5)
    assert (quality.reference_examples, quality.probe_examples) == (90, 90)


def test_an_embedding_of_noise_has_chance_accuracy():
    train, test = clusters(900, 0, noise=1000), clusters(900, 1, noise=1000)
    quality = embedding_quality(train, test, 3)
    assert quality.knn_accuracy is not None
    assert quality.linear_probe_accuracy is not None
    for accuracy in (quality.knn_accuracy, quality.linear_probe_accuracy):
        assert abs(accuracy["embedding"] - 1 / 3) < 0.06
        assert accuracy["pixels"] == accuracy["pca"] == 1
    assert quality.trustworthiness is not None
    assert quality.trustworthiness["embedding"] < 0.6 < quality.trustworthiness["pca"]
    assert quality.confusion is not None
    confusion = np.array(quality.confusion)
    np.testing.assert_array_equal(confusion.sum(axis=1), [300, 300, 300])  # rows are classes
    assert np.trace(confusion) / 900 == pytest.approx(quality.knn_accuracy["embedding"])


def test_pixels_as_embedding_have_the_scores_of_pixels():
    train, test = (
        e._replace(vectors=e.images.reshape(len(e.images), -1) / np.float32(255))
        for e in (clusters(60, 0), clusters(40, 1))
    )
    quality = embedding_quality(train, test, 3)
    assert quality.knn_accuracy is not None
    assert quality.knn_accuracy["embedding"] == quality.knn_accuracy["pixels"]
    assert quality.trustworthiness is not None
    assert quality.trustworthiness["embedding"] == 1
    assert quality.trustworthiness["pca"] == pytest.approx(1)  # all 16 dimensions: a rotation


def test_pca_has_at_most_as_many_dimensions_as_pixels():
    wide = [
        e._replace(vectors=np.pad(e.vectors, ((0, 0), (0, 95)))) for e in (clusters(40, 0),) * 2
    ]
    quality = embedding_quality(*wide, 3)
    assert (quality.dimensions, quality.pca_dimensions) == (100, 16)


@pytest.mark.parametrize("unlabeled", ["train", "test"])
def test_without_labels_only_trustworthiness_is_computed(unlabeled):
    both = {"train": clusters(30, 0), "test": clusters(20, 1)}
    both[unlabeled] = both[unlabeled]._replace(labels=None)
    quality = embedding_quality(both["train"], both["test"], 3)
    assert quality.knn_accuracy is quality.linear_probe_accuracy is quality.confusion is None
    assert quality.trustworthiness is not None


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_few_examples(count):
    few = clusters(count, 0)
    quality = embedding_quality(few, few, 3)
    assert (quality.trustworthiness is None) == (count < 3)
    assert quality.knn_accuracy is not None


def test_knn_predicts_the_majority_of_five_neighbors():
    train = np.array([[0], [1], [2], [3], [4], [100], [101]], np.float32)
    labels = np.array([0, 0, 1, 1, 1, 0, 0], np.int32)
    np.testing.assert_array_equal(knn_answers(train, np.array([[0]], "f4"), labels), [1])
    np.testing.assert_array_equal(knn_answers(train, np.array([[99]], "f4"), labels), [1])
    np.testing.assert_array_equal(knn_answers(train[:1], train, labels[:1]), [0] * 7)


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
        "flaxae.evaluation.embedding_quality.make_pipeline", lambda *steps: Recorder(seen, steps)
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
        return test
