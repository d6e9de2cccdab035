import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxae.objectives import LOSSES, find
from flaxae.objectives.losses import bce, l1, mse, sigmoid_cross_entropy, ssim_part


def full(value, shape=(2, 3, 4, 1)):
    return jnp.full(shape, value)


def logits_and_pixels():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(3, 5, 4, 2)).astype(np.float32)
    return logits, rng.uniform(size=logits.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("logit", "pixel", "loss"),
    [
        (0.0, 0.3, math.log(2)),
        (2.0, 1.0, math.log(1 + math.exp(-2))),
        (2.0, 0.25, math.log(1 + math.exp(2)) - 0.25 * 2),
        (-3.0, 0.0, math.log(1 + math.exp(-3))),
    ],
)
def test_cross_entropy_in_closed_form(logit, pixel, loss):
    found = sigmoid_cross_entropy(full(logit), full(pixel))
    np.testing.assert_allclose(found, [loss] * 2, rtol=1e-6)
    np.testing.assert_array_equal(bce(full(logit), full(pixel), {})["loss"], found)


@pytest.mark.parametrize("logit", [104.0, -104.0, 1e4, -1e4])
def test_cross_entropy_and_gradient_at_saturation(logit):
    """Where log(sigmoid(x)) underflows the loss is |x| on the wrong side, 0 on the right one."""

    def loss(x, pixel):
        return sigmoid_cross_entropy(full(x), full(pixel))[0]

    wrong, right = (0.0, 1.0) if logit > 0 else (1.0, 0.0)
    assert float(loss(logit, wrong)) == pytest.approx(abs(logit))
    assert float(loss(logit, right)) == pytest.approx(0, abs=1e-30)
    assert float(jax.grad(loss)(logit, wrong)) == pytest.approx(math.copysign(1, logit))


def test_cross_entropy_and_gradient_are_those_of_optax():
    """Zero included, where both halves of max(x, 0) meet: the gradient is sigmoid(0) - pixel."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(scale=6, size=(3, 5, 4, 2)), jnp.float32).at[0, 0].set(0)
    pixels = jnp.asarray(rng.uniform(size=logits.shape), jnp.float32)
    weights = jnp.arange(1.0, 4)

    def plain(x, z):
        return jnp.mean(optax.sigmoid_binary_cross_entropy(x, z), axis=(1, 2, 3))

    got, want = (
        jax.value_and_grad(lambda x, f=f: jnp.vdot(weights, f(x, pixels)))(logits)
        for f in (sigmoid_cross_entropy, plain)
    )
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-8)


def test_cross_entropy_is_a_mean_over_each_image():
    logits = jnp.stack([full(0.0, (2, 2, 3)), full(5.0, (2, 2, 3))])
    losses = sigmoid_cross_entropy(logits, jnp.ones_like(logits))
    np.testing.assert_allclose(losses, [math.log(2), math.log(1 + math.exp(-5))], rtol=1e-5)


@pytest.mark.parametrize(
    ("objective", "error"), [(mse, np.square), (l1, np.abs)], ids=["mse", "l1"]
)
def test_errors_are_means_over_the_pixels_of_each_image(objective, error):
    logits, pixels = logits_and_pixels()
    reconstructions = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = error(reconstructions - pixels).mean(axis=(1, 2, 3))
    found = objective(jnp.asarray(logits), jnp.asarray(pixels), {})
    assert set(found) == {"loss"}
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("objective", "error"), [(mse, jnp.square), (l1, jnp.abs)], ids=["mse", "l1"]
)
def test_gradients_are_those_of_the_plain_formula(objective, error):
    logits, pixels = map(jnp.asarray, logits_and_pixels())
    weights = jnp.arange(1.0, 4)

    def plain(x):
        return jnp.vdot(weights, error(jax.nn.sigmoid(x) - pixels).mean(axis=(1, 2, 3)))

    def ours(x):
        return jnp.vdot(weights, objective(x, pixels, {})["loss"])

    np.testing.assert_allclose(jax.grad(ours)(logits), jax.grad(plain)(logits), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_extra_losses_are_added_and_all_extras_are_reported(name):
    """ "usage" and "loss_of_codes" do not end in "_loss", so they are only reported."""
    objective = find(LOSSES, name)
    logits, pixels = map(jnp.asarray, logits_and_pixels())
    extras = {
        "kl_loss": jnp.array([1.0, 2.0, 3.0]),
        "commitment_loss": jnp.array([0.5, 0.25, 0.125]),
        "usage": jnp.array([7.0, 8.0, 9.0]),
        "loss_of_codes": jnp.array([100.0, 100.0, 100.0]),
    }
    alone, found = objective(logits, pixels, {})["loss"], objective(logits, pixels, extras)
    assert set(found) == {"loss", *extras}
    np.testing.assert_allclose(found["loss"], alone + jnp.array([1.5, 2.25, 3.125]), rtol=1e-6)
    for extra, values in extras.items():
        np.testing.assert_array_equal(found[extra], values)


def ssim_loss(logits, images):
    return ssim_part(logits, images, 1.0)["ssim_loss"]


def test_the_ssim_loss_is_0_for_equal_images_and_grows_with_what_differs():
    image = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (1, 9, 9, 1)), jnp.float32)
    logits = jnp.log(image / (1 - image))
    same, negative = ssim_loss(jnp.concatenate([logits, -logits]), jnp.concatenate([image, image]))
    assert float(same) == pytest.approx(0, abs=1e-5)
    assert 1 < float(negative) <= 2
    np.testing.assert_allclose(jax.grad(lambda x: ssim_loss(x, image)[0])(logits), 0, atol=1e-4)
    slope = jax.grad(lambda x: ssim_loss(x, image)[0])(-logits)
    assert jnp.sum(slope * (logits + logits)) < 0, "a step toward the image lowers the loss"


def test_the_ssim_loss_is_weighted_and_left_out_without_a_weight():
    logits, pixels = map(jnp.asarray, logits_and_pixels())
    weighted = ssim_part(logits, pixels, 0.25)["ssim_loss"]
    np.testing.assert_allclose(weighted, 0.25 * ssim_loss(logits, pixels), rtol=1e-6)
    assert ssim_part(logits, pixels, 0.0) == {}


@pytest.mark.parametrize("pixel", [0.0, 1.0])
@pytest.mark.parametrize("logit", [0.0, 200.0, -200.0])
def test_the_ssim_loss_of_flat_images_has_a_finite_gradient(logit, pixel):
    loss, slope = jax.value_and_grad(lambda x: ssim_loss(x, full(pixel)).sum())(full(logit))
    assert jnp.isfinite(loss)
    assert jnp.isfinite(slope).all()
