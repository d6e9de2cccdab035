from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from flaxae.data.batches import Batch
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import OptimizerConfig
from flaxae.training.parts import AXIS, Keys, across_devices, in_micro_batches, padded
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.step import gradient_sums
from tests.fixtures.images import synthetic_split

IMAGES = synthetic_split(10, 0).images
BATCH = Batch(IMAGES, np.arange(10, dtype=np.int32), np.arange(10) != 3)
KEYS = Keys(jax.random.key(1), jax.random.key(2))
SUMS = partial(gradient_sums, config=ObjectiveConfig(noise_factor=0.3))


def new_state(**random):
    config = ConvolutionalConfig(filters=(3, 2), **random)
    model = config.build(ComputeConfig(), IMAGES.shape[1:])
    return create_train_state(model, make_optimizer(OptimizerConfig(), 1), make_rngs(0).init)


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() == 2, "conftest.py asks for two virtual devices"
    return Mesh(jax.devices(), (AXIS,))


def variants(mesh, sums=SUMS):
    return {
        "micro-batches of 5": in_micro_batches(sums, 5),
        "micro-batches of 4, the last of 2": in_micro_batches(sums, 4),
        "one at a time": in_micro_batches(sums, 1),
        "more than there are": in_micro_batches(sums, 99),
        "two devices": across_devices(sums, mesh),
        "micro-batches of 2 on two devices": across_devices(in_micro_batches(sums, 2), mesh),
    }


def assert_same_sums(sums, whole, name):
    for a, b in zip(jax.tree.leaves(sums), jax.tree.leaves(whole), strict=True):
        limit = 1e-5 * float(jnp.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=limit, err_msg=name)


def test_sums_in_parts_are_those_of_the_whole(mesh):
    state = new_state()
    whole = jax.jit(SUMS)(state, BATCH, KEYS)
    assert float(whole.values["examples"]) == 9
    for name, sums in variants(mesh).items():
        assert_same_sums(jax.jit(sums)(state, BATCH, KEYS), whole, name)


def test_every_part_distorts_its_images_as_the_whole_does(mesh):
    config = ObjectiveConfig(corrupt=("affine", "shift", "mask"), rotation=90.0, translation=0.3)
    state, distorting = new_state(), partial(gradient_sums, config=config)
    whole = jax.jit(distorting)(state, BATCH, KEYS)
    other = jax.jit(distorting)(state, BATCH._replace(rows=BATCH.rows + 1), KEYS)
    assert float(other.values["loss"]) != pytest.approx(float(whole.values["loss"]), rel=1e-4)
    for name in ("micro-batches of 4, the last of 2", "two devices"):
        sums = variants(mesh, distorting)[name]
        assert_same_sums(jax.jit(sums)(state, BATCH, KEYS), whole, name)


def test_sums_across_devices_keep_their_types_and_shapes(mesh):
    """They travel as one vector, and come back as what they were."""

    def sums(state, batch, keys):
        count = jnp.sum(batch.mask)
        small = jnp.bfloat16(count)
        return {"count": count, "some": (count * jnp.ones((2, 3)), [small]), "none": ()}

    found = jax.jit(across_devices(sums, mesh))(None, BATCH, KEYS)
    expected = sums(None, BATCH, KEYS)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


def test_targets_are_divided_with_their_images(mesh):
    state, batch = new_state(), BATCH._replace(targets=np.ascontiguousarray(IMAGES[::-1]))
    whole = jax.jit(SUMS)(state, batch, KEYS)
    name = "micro-batches of 2 on two devices"
    assert_same_sums(jax.jit(variants(mesh)[name])(state, batch, KEYS), whole, name)


@pytest.mark.parametrize("random", [{"dropout_rate": 0.5}, {"latent_noise": 0.5}], ids=str)
def test_every_part_draws_for_its_examples_what_the_whole_does(mesh, random):
    state = new_state(**random)
    whole = jax.jit(SUMS)(state, BATCH, KEYS)
    other = jax.jit(SUMS)(state, BATCH._replace(rows=BATCH.rows + 1), KEYS)
    assert float(other.values["loss"]) != pytest.approx(float(whole.values["loss"]), rel=1e-4)
    for name, sums in variants(mesh).items():
        assert_same_sums(jax.jit(sums)(state, BATCH, KEYS), whole, name)


def test_layers_that_know_no_rows_drop_different_units_in_every_part(mesh):
    """Two equal halves give twice the sum of one half only if both drop the same."""

    def sums(state, batch, keys):
        kept = jax.random.bernoulli(keys.dropout, 0.5, batch.images.shape)
        return {"kept": jnp.sum(kept * jnp.float32(batch.images))}

    rows = np.array([0, 1, 2, 0, 1, 2], np.int32)
    twice = Batch(IMAGES[rows], rows, np.ones(6, bool))
    once = jax.tree.map(lambda x: x[:3], twice)
    for divided in (in_micro_batches(sums, 3), across_devices(sums, mesh)):
        parts = float(jax.jit(divided)(None, twice, KEYS)["kept"])
        assert parts != pytest.approx(2 * float(sums(None, once, KEYS)["kept"]), rel=1e-4)


def test_padding_is_masked():
    batch = padded(BATCH, 4)
    assert batch.images.shape[0] == 12
    np.testing.assert_array_equal(batch.mask, [*BATCH.mask, False, False])
    assert padded(BATCH, 5) is BATCH
