"""What is computed of each example, by one process and by several."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from flaxae.data.batches import Share
from flaxae.evaluation import by_example
from tests.fixtures.synthetic_run import solid_images

STATE = TrainState(step=0, apply_fn=None, params={}, tx=optax.identity(), opt_state=())
SPLIT = solid_images(9)


def rows(batch_size, share=Share(), split=SPLIT):  # noqa: B008 - a tuple
    """The rows, as `step` sees them, and the batches that it sees."""
    seen = []

    def step(state, batch):
        seen.append((batch.images, batch.rows))
        return jnp.asarray(batch.rows), jnp.asarray(batch.rows)[:, None] * 2

    return by_example.of_each_example(step, STATE, split, batch_size, share), seen


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_one_process_computes_all(batch_size):
    (first, second), _ = rows(batch_size)
    np.testing.assert_array_equal(first, np.arange(9))
    np.testing.assert_array_equal(second, 2 * np.arange(9)[:, None])


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_several_processes_share_the_batches_of_one(monkeypatch, processes, batch_size):
    """Each computes batches of one process as they are, and equally many rows can be joined."""
    given = []
    monkeypatch.setattr(by_example.processes, "join_rows", lambda what, a: given.append(a) or a)
    _, whole = rows(batch_size)
    seen = [rows(batch_size, Share(own, processes, processes))[1] for own in range(processes)]
    assert len({len(first) for first, _ in given}) == 1
    joined = np.concatenate([first for first, _ in given])
    np.testing.assert_array_equal(joined[:9], np.arange(9))
    computed = {tuple(numbers): images for part in seen for images, numbers in part}
    assert set(computed) == {tuple(numbers) for _, numbers in whole}
    for images, numbers in whole:
        np.testing.assert_array_equal(computed[tuple(numbers)], images)
    # None computes more than its share.
    assert max(map(len, seen)) == -(-len(whole) // processes)


def test_all_processes_get_what_all_have_computed(monkeypatch):
    others = {0: np.arange(8, dtype=np.int32), 1: np.arange(8, 16, dtype=np.int32)}

    def join(what, arrays):
        np.testing.assert_array_equal(arrays[0][0], own * 8)
        return [np.concatenate([others[0], others[1]]), np.zeros((16, 1), np.int32)]

    monkeypatch.setattr(by_example.processes, "join_rows", join)
    for own in (0, 1):
        (found, _), _ = rows(4, Share(own, 2, 2))
        np.testing.assert_array_equal(found, np.arange(9))
