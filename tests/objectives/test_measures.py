import math

import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.objectives.measures import add, masked_sums, mean_squared_error, means


def full(value, shape=(2, 3, 4, 1)):
    return jnp.full(shape, value)


def test_squared_error_is_of_pixels():
    np.testing.assert_allclose(mean_squared_error(full(0.5), full(0.75)), [0.0625] * 2)


def test_squared_error_is_a_mean_over_each_image():
    images = jnp.stack([full(0.0, (2, 2, 3)), full(0.5, (2, 2, 3)).at[0, 0, 0].set(1)])
    errors = mean_squared_error(images, jnp.zeros_like(images))
    np.testing.assert_allclose(errors, [0, (11 * 0.25 + 1) / 12], rtol=1e-6)


def test_masked_examples_do_not_count():
    values = {"loss": jnp.array([math.log(2), jnp.nan]), "mse": jnp.array([0.25, jnp.nan])}
    sums = masked_sums(values, jnp.array([True, False]))
    assert sums == {
        "loss": pytest.approx(math.log(2)),
        "mse": pytest.approx(0.25),
        "examples": 1,
    }


def test_means_divide_once():
    total = add({}, {"loss": 1.0, "mse": 0.02, "examples": 1.0})
    total = add(total, {"loss": 3.0, "mse": 0.02, "examples": 3.0})
    found = means(total)
    assert found["loss"] == pytest.approx(1.0)
    assert found["mse"] == pytest.approx(0.01)
    assert found["rmse"] == pytest.approx(0.1)
    assert found["psnr"] == pytest.approx(20)
    assert found["examples"] == 4


def test_adding_keeps_double_precision():
    """In float32, 2**24 + 1 is 2**24."""
    total = add({"loss": 2.0**24}, {"loss": jnp.float32(1)})
    assert total["loss"] == 2**24 + 1


def test_perfect_reconstruction_has_infinite_psnr():
    assert means({"loss": 0.0, "mse": 0.0, "examples": 5.0})["psnr"] == math.inf


def test_nothing_follows_from_an_absent_mean_squared_error():
    assert means({"loss": 1.0, "examples": 2.0}) == {"loss": 0.5, "examples": 2}
