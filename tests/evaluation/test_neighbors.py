import numpy as np

from flaxae.evaluation.neighbors import agreement, classes_by_neighbors, neighbors_among


def test_neighbors_are_the_nearest_others():
    vectors = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    vectors[1] = vectors[0]  # a copy is a neighbor, and no vector is its own
    found = neighbors_among(vectors)
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert not (found == np.arange(50)[:, None]).any()
    # Distances, because two copies are equally near.
    np.testing.assert_allclose(
        np.take_along_axis(distances, found, axis=1), np.sort(distances, axis=1)[:, :8], rtol=1e-5
    )
    assert found[0, 0] == 1


def test_few_vectors_have_fewer_neighbors():
    assert neighbors_among(np.zeros((3, 2), np.float32)).shape == (3, 2)
    assert neighbors_among(np.zeros((1, 2), np.float32)).shape == (1, 0)
    labels = np.zeros(1, np.int32)
    assert classes_by_neighbors(np.zeros((1, 0), np.int32), labels) is None
    assert agreement(np.zeros((1, 2), np.float32), labels) is None


def test_classes_by_the_majority_of_five():
    labels = np.array([0, 1, 1, 1, 0, 0, 0, 0, 0], np.int32)
    neighbors = np.array([[1, 2, 3, 4, 5, 6, 7, 8]] * 9, np.int32)
    np.testing.assert_array_equal(classes_by_neighbors(neighbors, labels), np.ones(9))
    groups = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    assert agreement(groups, np.repeat([0, 1, 2], 10)) == 1
