import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.objectives.corruptions import add_noise


def test_noise_has_the_right_mean_and_deviation():
    """Around mid-gray little noise is clipped: mean 0.5, standard deviation 0.1."""
    images, rows = jnp.full((64, 20, 20, 1), 0.5), jnp.arange(64)
    noisy = add_noise(images, rows, jax.random.key(0), 0.1)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.002)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.02)


def test_noise_is_clipped_to_the_pixel_range():
    images, rows = jnp.zeros((64, 20, 20, 1)), jnp.arange(64)
    noisy = add_noise(images, rows, jax.random.key(0), 3.0)
    assert float(noisy.min()) == 0
    assert float(noisy.max()) == 1
    assert float((noisy == 0).mean()) == pytest.approx(0.5, abs=0.02)
    # P(3 * N(0, 1) > 1) = 0.369
    assert float((noisy == 1).mean()) == pytest.approx(0.369, abs=0.02)


def test_noise_depends_on_the_row_and_not_on_the_batch():
    images = jnp.full((4, 5, 5, 1), 0.5)
    together = add_noise(images, jnp.arange(4), jax.random.key(0), 0.1)
    alone = add_noise(images[2:3], jnp.array([2]), jax.random.key(0), 0.1)
    np.testing.assert_array_equal(together[2:3], alone)
    assert not np.array_equal(together[0], together[1])
