"""Each score beside its definition, and baselines beside scikit-learn."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from flaxae.evaluation.scoring import DEFAULT_SCORE, SCORES, baselines
from flaxae.evaluation.scoring.baselines import PCA_SIZES, baseline_scores
from flaxae.evaluation.scoring.measuring import worst_count
from flaxae.evaluation.scoring.scores import Measured, Reference

RNG = np.random.default_rng(0)
SPREADS = np.array([3.0, 1.0, 0.2, 0.0])


def measured(count, offset=0.0):
    vectors = (RNG.normal(size=(count, 4)) * SPREADS + offset).astype("f4")
    return Measured(*(RNG.random((3, count), np.float32)), vectors)


TRAINING = measured(80).vectors
HELD_OUT, NEW = measured(30), measured(12, 0.5)
REFERENCE = Reference(TRAINING, HELD_OUT)


def score(name, of=NEW):
    return SCORES[name](of, REFERENCE)


def test_what_is_measured_is_a_score_as_it_is():
    for name in ("mse", "worst_pixels", "cross_entropy"):
        np.testing.assert_array_equal(score(name), getattr(NEW, name))


def test_neighbors_are_those_of_scikit_learn():
    model = NearestNeighbors(n_neighbors=5).fit(TRAINING)
    expected = model.kneighbors(NEW.vectors)[0].mean(axis=1)
    np.testing.assert_allclose(score("neighbors"), expected, rtol=1e-5)


def test_the_mahalanobis_distance_is_that_of_scikit_learn():
    # In a constant direction, it has no variance to divide by.
    varying = [vectors[:, :3].astype(float) for vectors in (TRAINING, NEW.vectors)]
    reference = Reference(TRAINING[:, :3], HELD_OUT)
    expected = LedoitWolf().fit(varying[0]).mahalanobis(varying[1]) ** 0.5
    found = SCORES["mahalanobis"](NEW._replace(vectors=NEW.vectors[:, :3]), reference)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_whitened_training_embeddings_have_unit_covariance_in_every_direction():
    many = (RNG.normal(size=(4000, 3)) * [3, 1, 0.5]).astype("f4")
    white = Reference(many, HELD_OUT).whiten(many)
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=0.1)


def test_whitened_neighbors_are_nearest_by_the_mahalanobis_metric():
    white = REFERENCE.whiten(TRAINING), REFERENCE.whiten(NEW.vectors)
    every = np.linalg.norm(white[1][:, None] - white[0], axis=2)
    expected = np.sort(every, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(score("whitened_neighbors"), expected, rtol=1e-3)


def test_the_combined_score_is_in_spreads_of_held_out_images():
    parts = []
    for name in ("worst_pixels", "whitened_neighbors"):
        normal = score(name, HELD_OUT)
        middle = np.median(normal)
        parts.append((score(name) - middle) / (np.percentile(normal, 90) - middle))
    np.testing.assert_allclose(score("combined"), np.mean(parts, axis=0), rtol=1e-4)


@pytest.mark.parametrize("held_out", [1, 3])
def test_equal_held_out_images_leave_both_parts_of_the_combined_score_their_weight(held_out):
    normal = Measured(*(np.full((3, held_out), 0.001, "f4")), np.zeros((held_out, 4), "f4") + 0.5)
    reference = Reference(TRAINING, normal)
    new = Measured(*(np.array([[0.1, 0.001]] * 3, "f4")), np.array([[0.5] * 4, [0.6] * 4], "f4"))
    badly_drawn, a_little_away = SCORES["combined"](new, reference)
    assert 10**6 > badly_drawn > a_little_away > 0


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("training", [1, 2, 80])
def test_few_or_equal_training_images_give_finite_scores(name, training):
    same = Reference(np.ones((training, 4), np.float32), HELD_OUT)
    for reference in (same, Reference(TRAINING[:training], HELD_OUT)):
        found = SCORES[name](NEW, reference)
        assert found.shape == (12,)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


def test_the_default_is_a_score_and_all_have_units():
    assert DEFAULT_SCORE in SCORES
    assert all(entry.unit and entry.meaning for entry in SCORES.values())


@pytest.mark.parametrize(
    ("pixels", "percent", "count"), [(784, 5, 40), (784, 100, 784), (9, 0.1, 1), (10, 20, 2)]
)
def test_worst_pixels_are_at_least_one(pixels, percent, count):
    assert worst_count(pixels, percent) == count


def test_the_baselines_are_those_of_scikit_learn():
    low = RNG.integers(0, 2, (150, 3)) @ RNG.integers(0, 60, (3, 35))
    images = (low + RNG.integers(0, 20, (150, 35))).astype(np.uint8).reshape(150, 7, 5, 1)
    training, held_out, new = images[:80], images[80:110], images[110:]
    found = baseline_scores(training, held_out, new)
    flat = [part.reshape(len(part), -1) / 255 for part in (training, held_out, new)]
    sizes = [size for size in PCA_SIZES if size < 35]
    best = max(sizes, key=lambda size: PCA(size).fit(flat[0]).score(flat[1]))
    assert best == 4  # three directions, and none of the noise that fits worse than a sphere
    pca = PCA(best).fit(flat[0])
    rebuilt = pca.inverse_transform(pca.transform(flat[2]))
    mean, residual, nearest = (
        found[name] for name in ("mean image", "PCA of 4", "5 neighbors of pixels")
    )
    np.testing.assert_allclose(mean, ((flat[2] - flat[0].mean(0)) ** 2).mean(1), rtol=1e-4)
    np.testing.assert_allclose(residual, ((flat[2] - rebuilt) ** 2).mean(1), rtol=1e-3)
    neighbors = NearestNeighbors(n_neighbors=5).fit(flat[0]).kneighbors(flat[2])[0].mean(1)
    np.testing.assert_allclose(nearest, neighbors, rtol=1e-4)


def test_components_are_the_same_by_pixels_and_by_images():
    images = (RNG.normal(size=(40, 3)) @ RNG.normal(size=(3, 600))).astype("f4")
    images += RNG.normal(size=images.shape, scale=0.1).astype("f4")
    found = baselines.components_of(images, 5)
    expected = PCA(5, svd_solver="full").fit(images)
    np.testing.assert_allclose(found.variance_ratio, expected.explained_variance_ratio_, rtol=1e-4)
    products = np.abs(found.components @ expected.components_.T)
    np.testing.assert_allclose(products, np.eye(5), atol=1e-3)
    np.testing.assert_allclose(found.mean, expected.mean_, atol=1e-6)
    same = baselines.components_of(np.ones((3, 600), np.float32), 5)
    assert len(same.components) == 0


def test_the_baselines_of_one_image_are_finite():
    one = np.full((1, 2, 2, 1), 7, np.uint8)
    assert all(values.tolist() == [0.0] for values in baseline_scores(one, one, one).values())
