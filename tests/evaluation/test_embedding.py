import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from flaxae.errors import InputError
from flaxae.evaluation.embedding import embed_images
from flaxae.training.step import Embedded
from tests.fixtures.synthetic_run import solid_images

NO_STATE = TrainState(step=0, apply_fn=None, params={}, tx=optax.identity(), opt_state=())


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((4, 2), "example 4 of the split has nan in dimension 2 of its vector"),
        ((5, None), "example 5 of the split has nan as reconstruction error"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(place, message):
    example, dimension = place

    def step(state, batch):
        vectors = np.zeros((len(batch.images), 3), np.float32)
        errors = np.zeros(len(batch.images), np.float32)
        for row in (example, 6):  # the first one is named
            target = errors if dimension is None else vectors[:, dimension]
            target[batch.rows == row] = np.nan
        return Embedded(jnp.asarray(vectors), jnp.asarray(errors))

    with pytest.raises(InputError, match=message):
        embed_images(step, NO_STATE, solid_images(9), 4)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_padding_of_the_last_batch_is_no_point(batch_size):
    def step(state, batch):
        rows = jnp.asarray(batch.rows, jnp.float32)
        return Embedded(jnp.stack([rows] * 3, axis=1), rows / 2)

    embedding = embed_images(step, NO_STATE, solid_images(9), batch_size)
    np.testing.assert_array_equal(embedding.vectors[:, 0], np.arange(9))
    np.testing.assert_array_equal(embedding.errors, np.arange(9) / 2)
