import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity as reference

from flaxae.objectives.ssim import structural_similarity


def ssim_of(reconstructions, images):
    return structural_similarity(jnp.asarray(reconstructions), jnp.asarray(images))


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 33, 3), (7, 7, 2)])
def test_ssim_is_that_of_scikit_image(shape):
    rng = np.random.default_rng(0)
    images = rng.random((4, *shape), np.float32)
    others = np.clip(images + rng.normal(0, 0.2, images.shape), 0, 1).astype(np.float32)
    expected = [
        reference(a, b, data_range=1.0, channel_axis=-1)
        for a, b in zip(others, images, strict=True)
    ]
    np.testing.assert_allclose(ssim_of(others, images), expected, atol=2e-5)


def test_ssim_of_small_images_uses_a_smaller_window():
    rng = np.random.default_rng(1)
    images, others = rng.random((2, 3, 4, 6, 1), np.float32)
    expected = [
        reference(a, b, data_range=1.0, channel_axis=-1, win_size=3)
        for a, b in zip(others, images, strict=True)
    ]
    np.testing.assert_allclose(ssim_of(others, images), expected, atol=2e-5)


def test_ssim_of_equal_images_is_1():
    images = np.random.default_rng(2).random((2, 12, 12, 1), np.float32)
    np.testing.assert_allclose(ssim_of(images, images), 1, atol=1e-6)
