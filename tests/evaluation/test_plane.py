import sys
from types import ModuleType, SimpleNamespace

import numpy as np

from flaxae.evaluation import plane
from flaxae.evaluation.pca import fit_pca, project, unexplained

VECTORS = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def test_two_numbers_are_their_own_plane():
    found = plane.lay_out(VECTORS[:, :2], umap=True)
    assert found.kind == "latent"
    np.testing.assert_array_equal(found.points, VECTORS[:, :2])


def test_more_numbers_are_laid_out_by_pca():
    found = plane.lay_out(VECTORS, umap=False)
    assert found.kind == "pca"
    np.testing.assert_array_equal(found.points, project(fit_pca(VECTORS, 2), VECTORS))
    assert "% of the variance" in found.axes[0]


def test_one_number_is_a_line():
    found = plane.lay_out(VECTORS[:, :1], umap=True)
    assert found.kind == "pca"
    assert not found.points[:, 1].any()


def test_umap_is_used_if_it_is_there_and_asked_for(monkeypatch):
    made = []

    def umap(**options):
        made.append(options)
        return SimpleNamespace(fit_transform=lambda vectors: vectors[:, 1:3])

    module = ModuleType("umap")
    monkeypatch.setattr(module, "UMAP", umap, raising=False)
    monkeypatch.setitem(sys.modules, "umap", module)
    monkeypatch.setattr(plane, "_has_umap", lambda: True)
    assert plane.lay_out(VECTORS, umap=False).kind == "pca"
    found = plane.lay_out(VECTORS, umap=True)
    assert found.kind == "umap"
    np.testing.assert_array_equal(found.points, VECTORS[:, 1:3])
    assert made == [{"n_neighbors": 15, "random_state": 0, "n_jobs": 1}]
    assert plane.lay_out(VECTORS[:10], umap=True).kind == "pca"  # too few neighbors


def test_a_folder_called_umap_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "umap").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not plane._has_umap()
    assert plane.lay_out(VECTORS, umap=True).kind == "pca"


def test_what_pca_leaves_unexplained_is_the_error_of_its_reconstruction():
    pca = fit_pca(VECTORS, 2)
    rebuilt = project(pca, VECTORS) @ pca.components + pca.mean
    np.testing.assert_allclose(
        unexplained(pca, VECTORS), ((rebuilt - VECTORS) ** 2).mean(axis=1), rtol=1e-4
    )
