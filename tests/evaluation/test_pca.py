import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxae.evaluation import pca
from flaxae.evaluation.pca import fit_pca, project

# Limits of the module that make `fit_pca` choose each way of fitting for small vectors.
WAYS = {
    "covariance_eigh": {},
    "arpack or full": {"_COVARIANCE_DIMENSIONS": 0},
    "batches": {"_IN_MEMORY": 0, "_BATCH": 0},  # exact, because all components are kept
}


@pytest.mark.parametrize("shape", [(1, 5), (1, 1), (6, 1)])
def test_a_plane_of_one_example_or_one_dimension_has_zeros(shape):
    vectors = np.random.default_rng(0).normal(size=shape).astype("f4")
    points, shares = pca.principal_plane(vectors)
    assert points.shape == (shape[0], 2)
    assert points.dtype == np.float32
    assert not points[:, 1].any()
    assert shares == [pytest.approx(float(shape[0] > 1)), 0.0]


def fit(way, vectors, count):
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in WAYS[way].items():
            patch.setattr(pca, name, limit)
        return fit_pca(vectors, count)


def assert_principal_components(fitted, vectors, count):
    """Compares with numpy's SVD of the centered vectors, in float64."""
    centered = vectors - vectors.mean(axis=0, dtype=np.float64)
    _, singular, rows = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(fitted.mean, vectors.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(
        fitted.variance_ratio, singular[:count] ** 2 / (singular**2).sum(), rtol=1e-4
    )
    assert fitted.components.shape == (count, vectors.shape[1])
    for ours, reference in zip(fitted.components, rows, strict=False):
        assert abs(ours @ reference) == pytest.approx(1, abs=1e-3)
        assert ours[np.abs(ours).argmax()] > 0


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(2, 12), st.integers(0, 99), st.integers(1, 12))
def test_pca_matches_numpy_svd(way, examples, dimensions, seed, count):
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.1, 9, dimensions)
    vectors = (rng.normal(size=(examples, dimensions)) * scale).astype("f4")
    count = min(count, dimensions, examples - 1)
    assert_principal_components(fit(way, vectors, count), vectors, count)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (12, 12)])
def test_pca_of_uint8_matches_numpy_svd(way, shape):
    vectors = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert_principal_components(fit(way, vectors, 5), vectors, 5)


@pytest.mark.parametrize("way", WAYS)
def test_pca_of_vectors_far_from_zero_matches_numpy_svd(way):
    spread = np.random.default_rng(0).normal(size=(40, 6)) * [6, 5, 4, 3, 2, 1]
    vectors = 1e6 + spread
    assert_principal_components(fit(way, vectors, 3), vectors, 3)


@pytest.mark.parametrize("way", WAYS)
def test_pca_has_at_most_as_many_components_as_examples_and_dimensions(way):
    vectors = np.random.default_rng(0).normal(size=(4, 40)).astype(np.float32)
    fitted = fit(way, vectors, 9)
    assert fitted.components.shape == (4, 40)
    # Four examples differ along three directions only.
    assert fitted.variance_ratio.sum() == pytest.approx(1)
    assert fitted.variance_ratio[3] == pytest.approx(0, abs=1e-12)
    assert fit(way, vectors.T, 9).components.shape == (4, 4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("examples", [1, 4])
def test_pca_of_equal_vectors_has_zero_variance(way, dtype, examples):
    vectors = np.full((examples, 3), 0.1 if dtype == np.float32 else 7, dtype)
    fitted = fit(way, vectors, 2)
    count = min(examples, 2)
    np.testing.assert_array_equal(project(fitted, vectors), np.zeros((examples, count)))
    np.testing.assert_array_equal(fitted.variance_ratio, np.zeros(count))
    np.testing.assert_array_equal(fitted.components @ fitted.components.T, np.eye(count))


@pytest.mark.parametrize("way", WAYS)
def test_pca_of_nearly_equal_vectors_finds_the_one_that_differs(way):
    vectors = np.ones((90, 4), np.float32)
    vectors[50, 2] += 1e-6
    fitted = fit(way, vectors, 2)
    np.testing.assert_allclose(fitted.components[0], [0, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(fitted.variance_ratio, [1, 0], atol=1e-6)


def test_pca_of_data_in_batches_is_close_to_exact(monkeypatch):
    """The largest components are close, although each batch is truncated."""
    rng = np.random.default_rng(0)
    scale = 1 / np.arange(1, 61)
    vectors = rng.normal(size=(3000, 60)) * scale
    exact = fit_pca(vectors, 5)
    monkeypatch.setattr(pca, "_IN_MEMORY", 0)
    monkeypatch.setattr(pca, "_BATCH", 200 * 60)
    monkeypatch.setattr(pca, "_EXTRA_COMPONENTS", 20)
    batches = fit_pca(vectors, 5)
    np.testing.assert_allclose(batches.components, exact.components, atol=0.02)
    np.testing.assert_allclose(batches.variance_ratio, exact.variance_ratio, rtol=1e-3)


def test_batches_use_bounded_memory(monkeypatch):
    """The peak depends on the batch, not on the number of examples."""
    monkeypatch.setattr(pca, "_IN_MEMORY", 0)
    monkeypatch.setattr(pca, "_BATCH", 500 * 40)
    vectors = np.random.default_rng(0).integers(0, 256, (50_000, 40), np.uint8)
    fit_pca(vectors[:2000], 2)  # imports scikit-learn
    tracemalloc.start()
    project(fit_pca(vectors, 2), vectors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < vectors.size * 8 / 5


def test_pca_is_the_same_each_time():
    vectors = np.random.default_rng(0).normal(size=(60, 30)).astype(np.float32)
    for way in WAYS:
        first, second = fit(way, vectors, 4), fit(way, vectors, 4)
        np.testing.assert_array_equal(first.components, second.components)


def test_randomized_solver_is_deterministic_and_close_to_exact(monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 60)) / np.arange(1, 61)
    exact = fit_pca(vectors, 5)
    monkeypatch.setattr(pca, "_COVARIANCE_DIMENSIONS", 0)
    monkeypatch.setattr(pca, "_EXACT_WORK", 0)
    first, second = fit_pca(vectors, 5), fit_pca(vectors, 5)
    np.testing.assert_array_equal(first.components, second.components)
    np.testing.assert_allclose(first.components, exact.components, atol=1e-3)


@pytest.mark.parametrize(
    ("examples", "dimensions", "count", "solver"),
    [
        (60_000, 784, 64, "covariance_eigh"),
        (30, 4096, 30, "covariance_eigh"),
        (5_000, 12_288, 64, "arpack"),
        (4_000, 30_000, 2, "arpack"),
        (64, 12_288, 64, "full"),
        (10_000, 12_288, 1_024, "randomized"),
    ],
)
def test_choose_solver(examples, dimensions, count, solver):
    assert pca._choose_solver(examples, dimensions, count) == solver


def test_project_in_chunks_matches_project_at_once(monkeypatch):
    vectors = np.random.default_rng(0).integers(0, 256, (50, 6), np.uint8)
    fitted = fit_pca(vectors, 3)
    whole = project(fitted, vectors)
    monkeypatch.setattr(pca, "_BATCH", 42)
    plane = project(fitted, vectors)
    np.testing.assert_allclose(plane, whole, atol=1e-4)
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane.mean(axis=0), 0, atol=1e-3)
    shares = plane.var(axis=0) / vectors.var(axis=0).sum()
    np.testing.assert_allclose(shares, fitted.variance_ratio, rtol=1e-5)
