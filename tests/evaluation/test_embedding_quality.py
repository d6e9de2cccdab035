import errno
import json

import numpy as np
import pytest

from flaxae.evaluation import baselines as module
from flaxae.evaluation.embedding_quality import Examples, embedding_quality
from flaxae.evaluation.pca import fit_pca
from tests.fixtures.clusters import clusters


@pytest.fixture
def score(tmp_path):
    """Scores two splits; the baselines are kept in the test's folder."""
    return lambda train, test, classes=3: embedding_quality(train, test, classes, tmp_path)


def test_separable_classes_have_accuracy_one(score):
    quality = score(clusters(90, 0), clusters(30, 1))
    ones = {"embedding": 1.0, "pca": 1.0, "best_pca": 1.0, "pixels": 1.0}
    for name in ("nn1_accuracy", "knn_accuracy", "linear_probe_accuracy"):
        assert quality.scores[name] == ones
    for name in ("accuracy", "nmi", "ari", "v_measure"):
        assert quality.scores[f"kmeans_{name}"]["embedding"] == pytest.approx(1)
    assert quality.confusion == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert (quality.dimensions, quality.pca_dimensions, quality.neighbors) == (5, 5, 5)
    assert (quality.reference_examples, quality.probe_examples) == (90, 90)


def test_an_embedding_of_noise_has_chance_accuracy(score):
    train, test = clusters(900, 0, noise=1000), clusters(900, 1, noise=1000)
    quality = score(train, test)
    for name in ("nn1_accuracy", "knn_accuracy", "linear_probe_accuracy", "kmeans_accuracy"):
        assert abs(quality.scores[name]["embedding"] - 1 / 3) < 0.06
        assert quality.scores[name]["pixels"] == quality.scores[name]["pca"] == 1
    assert abs(quality.scores["kmeans_ari"]["embedding"]) < 0.02
    trust = quality.scores["trustworthiness"]
    assert trust["embedding"] < 0.6 < trust["pca"]
    confusion = np.array(quality.confusion)
    np.testing.assert_array_equal(confusion.sum(axis=1), [300, 300, 300])  # rows are classes
    accuracy = quality.scores["knn_accuracy"]["embedding"]
    assert np.trace(confusion) / 900 == pytest.approx(accuracy)


def test_pixels_as_embedding_have_the_scores_of_pixels(score):
    train, test = (
        e._replace(vectors=e.images.reshape(len(e.images), -1) / np.float32(255))
        for e in (clusters(60, 0), clusters(40, 1))
    )
    for values in score(train, test).scores.values():
        assert values["embedding"] == values["pixels"]
        assert values["pca"] == pytest.approx(values["pixels"])  # all 16 dimensions: a rotation


def test_pca_has_at_most_as_many_dimensions_as_pixels(score):
    wide = [
        e._replace(vectors=np.pad(e.vectors, ((0, 0), (0, 95)))) for e in (clusters(40, 0),) * 2
    ]
    quality = score(*wide)
    assert (quality.dimensions, quality.pca_dimensions) == (100, 16)


def test_the_best_pca_has_the_most_accurate_neighbors(score):
    """The class is in the weakest direction, so that two components do not show it."""
    rng = np.random.default_rng(0)
    labels = np.arange(120, dtype=np.int32) % 3
    images = rng.integers(0, 256, (120, 2, 2, 1), np.uint8)
    images[:, 1, 1, 0] = 40 * labels
    examples = Examples(rng.normal(size=(120, 2)).astype("f4"), images, labels)
    quality = score(examples, examples._replace(images=images[::-1], labels=labels[::-1]))
    assert quality.best_pca_dimensions == 4
    accuracy = quality.scores["knn_accuracy"]
    assert accuracy["best_pca"] > accuracy["pca"] + 0.1


def test_one_class_is_no_warning(score):
    train, test = (
        clusters(count, 0)._replace(labels=np.zeros(count, np.int32)) for count in (30, 20)
    )
    quality = score(train, test, 1)
    assert quality.confusion == [[20]]
    assert quality.scores["knn_accuracy"]["embedding"] == 1


@pytest.mark.parametrize("unlabeled", ["train", "test"])
def test_without_labels_only_trustworthiness_is_computed(score, unlabeled):
    both = {"train": clusters(30, 0), "test": clusters(20, 1)}
    both[unlabeled] = both[unlabeled]._replace(labels=None)
    quality = score(both["train"], both["test"])
    assert set(quality.scores) == {"trustworthiness"}
    assert set(quality.scores["trustworthiness"]) == {"embedding", "pca", "pixels"}
    assert quality.confusion is quality.best_pca_dimensions is None


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_few_examples(score, count):
    few = clusters(count, 0)
    quality = score(few, few)
    assert ("trustworthiness" in quality.scores) == (count >= 3)
    assert "knn_accuracy" in quality.scores


def test_what_depends_on_the_images_alone_is_computed_once(score, tmp_path, monkeypatch):
    first = score(clusters(60, 0), clusters(30, 1))
    monkeypatch.setattr(module, "fit_pca", lambda *given: pytest.fail("computed again"))
    other = clusters(60, 0), clusters(30, 1)
    other[1].vectors[:] = 0
    second = score(*other)
    for name, values in first.scores.items():
        for kind in ("pca", "best_pca", "pixels"):
            assert second.scores[name][kind] == values[kind]
    assert second.scores["knn_accuracy"]["embedding"] < 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("changed", ["images", "labels"])
def test_other_images_or_labels_are_scored_anew(score, tmp_path, changed):
    train, test = clusters(60, 0), clusters(30, 1)
    score(train, test)
    other = test._replace(**{changed: np.ascontiguousarray(getattr(test, changed)[::-1])})
    score(train, other)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_computed_again(score, tmp_path):
    first = score(clusters(60, 0), clusters(30, 1))
    (kept,) = tmp_path.iterdir()
    whole = kept.read_text()
    other = whole.replace("0.", "0.1", 1)
    for damaged in ("{", "[1, 2]", "[" * 100_000, other):
        assert damaged != whole
        kept.write_text(damaged)
        assert score(clusters(60, 0), clusters(30, 1)) == first
    assert json.loads(kept.read_text())["best_pca_dimensions"] == first.best_pca_dimensions


def test_another_size_is_added_to_the_file(score, tmp_path, monkeypatch):
    score(clusters(60, 0), clusters(30, 1))
    narrow = [e._replace(vectors=e.vectors[:, :3]) for e in (clusters(60, 0), clusters(30, 1))]
    fitted = []
    monkeypatch.setattr(module, "fit_pca", lambda *given: fitted.append(1) or fit_pca(*given))
    score(*narrow)
    score(*narrow)
    assert len(fitted) == 1
    (kept,) = tmp_path.iterdir()
    assert {"pca 3", "pca 5"} <= set(json.loads(kept.read_text()))


def test_scores_that_cannot_be_kept_leave_nothing_behind(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    kept = module._Kept(tmp_path / "scores.json")
    assert kept.get("a", lambda: 1) == 1
    kept.save()
    assert list(tmp_path.iterdir()) == []
