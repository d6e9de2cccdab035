import numpy as np
import pytest

from flaxae.api.report.texts import map_note
from flaxae.evaluation.plane import lay_out


@pytest.mark.parametrize(("dimensions", "is_plane"), [(2, True), (3, False)])
def test_the_map_says_that_neighbors_are_not_of_the_plane_unless_they_are(dimensions, is_plane):
    vectors = np.random.default_rng(0).normal(size=(9, dimensions)).astype(np.float32)
    note = map_note(lay_out(vectors, umap=False), 9, ())
    assert ("not on this plane" in note) is not is_plane
    assert note.startswith("The two numbers of each embedding." if is_plane else "The embeddings")
