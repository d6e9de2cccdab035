import numpy as np
import pytest

from flaxae.api.report.texts import map_note, numbers_note
from flaxae.evaluation.plane import lay_out


@pytest.mark.parametrize(("dimensions", "is_plane"), [(2, True), (3, False)])
def test_the_map_says_that_neighbors_are_not_of_the_plane_unless_they_are(dimensions, is_plane):
    vectors = np.random.default_rng(0).normal(size=(9, dimensions)).astype(np.float32)
    note = map_note(lay_out(vectors, umap=False), 9, ())
    assert ("not on this plane" in note) is not is_plane
    assert note.startswith("The two numbers of each embedding." if is_plane else "The embeddings")


def test_the_numbers_of_a_denoising_run_say_which_inputs_are_noisy():
    assert "inputs without noise" in numbers_note(small=True, noise_factor=0.3)
    assert "inputs with the noise of training" in numbers_note(small=False, noise_factor=0.3)
    assert not any("noise" in numbers_note(small, 0.0) for small in (True, False))
