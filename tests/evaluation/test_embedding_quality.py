import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from flaxae.evaluation import pca as projection
from flaxae.evaluation.embedding_quality import (
    Examples,
    embedding_quality,
    knn_answers,
    probe_answers,
)
from flaxae.evaluation.pca import fit_pca, project


def clusters(count, seed, noise=0.05, classes=3):
    """Images whose brightest corner tells their class, and vectors that tell it less and less."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % classes
    images = rng.integers(0, 20, (count, 4, 4, 1), np.uint8)
    images[np.arange(count), labels, labels, 0] = 250
    vectors = np.eye(classes, 5, dtype=np.float32)[labels]
    return Examples(
        vectors + rng.normal(scale=noise, size=vectors.shape).astype("f4"), images, labels
    )


def test_separate_clusters_score_one_everywhere():
    quality = embedding_quality(clusters(90, 0), clusters(30, 1), 3)
    ones = {"embedding": 1.0, "pca": 1.0, "pixels": 1.0}
    assert quality.knn_accuracy == quality.linear_probe_accuracy == ones
    assert quality.confusion == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert (quality.dimensions, quality.pca_dimensions, quality.neighbors) == (5, 5, 5)
    assert (quality.reference_examples, quality.probe_examples) == (90, 90)


def test_an_embedding_of_noise_scores_as_chance_while_the_pixels_do_not():
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


def test_the_pixels_as_an_embedding_score_as_the_pixels():
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


def test_pca_has_as_many_dimensions_as_there_are_pixels_at_most():
    wide = [
        e._replace(vectors=np.pad(e.vectors, ((0, 0), (0, 95)))) for e in (clusters(40, 0),) * 2
    ]
    quality = embedding_quality(*wide, 3)
    assert (quality.dimensions, quality.pca_dimensions) == (100, 16)


@pytest.mark.parametrize("unlabeled", ["train", "test"])
def test_without_labels_there_is_only_trustworthiness(unlabeled):
    both = {"train": clusters(30, 0), "test": clusters(20, 1)}
    both[unlabeled] = both[unlabeled]._replace(labels=None)
    quality = embedding_quality(both["train"], both["test"], 3)
    assert quality.knn_accuracy is quality.linear_probe_accuracy is quality.confusion is None
    assert quality.trustworthiness is not None


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_a_handful_of_examples_is_no_error(count):
    few = clusters(count, 0)
    quality = embedding_quality(few, few, 3)
    assert (quality.trustworthiness is None) == (count < 3)
    assert quality.knn_accuracy is not None


def test_knn_is_the_majority_of_the_five_nearest():
    train = np.array([[0], [1], [2], [3], [4], [100], [101]], np.float32)
    labels = np.array([0, 0, 1, 1, 1, 0, 0], np.int32)
    np.testing.assert_array_equal(knn_answers(train, np.array([[0]], "f4"), labels), [1])
    np.testing.assert_array_equal(knn_answers(train, np.array([[99]], "f4"), labels), [1])
    np.testing.assert_array_equal(knn_answers(train[:1], train, labels[:1]), [0] * 7)


def test_the_probe_does_not_depend_on_the_scale_of_a_feature():
    train, test = clusters(60, 0), clusters(30, 1, noise=0.4)
    assert train.labels is not None
    scale = np.float32([1, 1e4, 1e-4, 3, 7])
    plain = probe_answers(train.vectors, test.vectors, train.labels)
    np.testing.assert_array_equal(
        probe_answers(train.vectors * scale, test.vectors * scale, train.labels), plain
    )


def test_the_probe_learns_from_ten_thousand_examples_and_the_same_each_time(monkeypatch):
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


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(2, 12), st.integers(0, 99), st.integers(1, 12))
def test_pca_is_that_of_scikit_learn(examples, dimensions, seed, count):
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(examples, dimensions)) * rng.uniform(0.1, 9, dimensions)).astype(
        "f4"
    )
    count = min(count, dimensions, examples - 1)
    reference = PCA(count, svd_solver="full").fit(vectors.astype(np.float64))
    for largest in (4096, 1):  # from the covariance, and from the products between examples
        fitted = fit_with(vectors, count, largest, examples)
        np.testing.assert_allclose(fitted.variance_ratio, reference.explained_variance_ratio_, 1e-4)
        for ours, theirs in zip(fitted.components, reference.components_, strict=True):
            assert abs(ours @ theirs) == pytest.approx(1, abs=1e-3)
            assert ours[np.abs(ours).argmax()] > 0


def fit_with(vectors, count, largest, examples):
    with pytest.MonkeyPatch.context() as patch:
        # The smaller matrix is taken where the dimensions exceed the limit and the examples do not.
        limit = max(largest, examples) if vectors.shape[1] > examples else 4096
        patch.setattr(projection, "_LARGEST", limit if largest == 1 else 4096)
        return fit_pca(vectors, count)


def test_pca_of_more_dimensions_than_the_limit(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)
    exact = fit_pca(vectors, 5)
    monkeypatch.setattr(projection, "_LARGEST", 20)
    small = fit_pca(vectors, 5)
    np.testing.assert_allclose(small.components, exact.components, atol=1e-6)
    np.testing.assert_allclose(small.variance_ratio, exact.variance_ratio, rtol=1e-6)
    monkeypatch.setattr(projection, "_LARGEST", 5)
    assert fit_pca(vectors, 5).components.shape == (4, 40)  # of 4 examples, evenly spread
    np.testing.assert_allclose(fit_pca(vectors[:2], 2).components[1], 0)


def test_pca_in_chunks_is_pca_at_once(monkeypatch):
    vectors = np.random.default_rng(0).integers(0, 256, (50, 6), np.uint8)
    whole = fit_pca(vectors, 3)
    monkeypatch.setattr(projection, "_CHUNK", 7)
    parts = fit_pca(vectors, 3)
    np.testing.assert_allclose(parts.components, whole.components, atol=1e-9)
    plane = project(parts, vectors)
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane.mean(axis=0), 0, atol=1e-3)
    shares = plane.var(axis=0) / vectors.var(axis=0).sum()
    np.testing.assert_allclose(shares, whole.variance_ratio, rtol=1e-5)


def test_pca_of_equal_vectors_is_no_error():
    fitted = fit_pca(np.ones((4, 3), np.float32), 2)
    np.testing.assert_array_equal(project(fitted, np.ones((4, 3))), np.zeros((4, 2)))
