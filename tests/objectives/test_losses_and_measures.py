import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxae.objectives.losses import reconstruction_loss
from flaxae.objectives.measures import Sums, add, example_errors, quality, reconstruction_sums


def full(value, shape=(2, 3, 4, 1)):
    return jnp.full(shape, value)


@pytest.mark.parametrize(
    ("logit", "pixel", "loss"),
    [
        (0.0, 0.3, math.log(2)),
        (2.0, 1.0, math.log(1 + math.exp(-2))),
        (2.0, 0.25, math.log(1 + math.exp(2)) - 0.25 * 2),
        (-3.0, 0.0, math.log(1 + math.exp(-3))),
    ],
)
def test_loss_in_closed_form(logit, pixel, loss):
    np.testing.assert_allclose(reconstruction_loss(full(logit), full(pixel)), [loss] * 2, rtol=1e-6)


@pytest.mark.parametrize("logit", [104.0, -104.0, 1e4, -1e4])
def test_loss_and_gradient_at_saturation(logit):
    """Where log(sigmoid(x)) underflows the loss is |x| on the wrong side, 0 on the right one."""

    def loss(x, pixel):
        return reconstruction_loss(full(x), full(pixel))[0]

    wrong, right = (0.0, 1.0) if logit > 0 else (1.0, 0.0)
    assert float(loss(logit, wrong)) == pytest.approx(abs(logit))
    assert float(loss(logit, right)) == pytest.approx(0, abs=1e-30)
    assert float(jax.grad(loss)(logit, wrong)) == pytest.approx(math.copysign(1, logit))


def test_loss_and_gradient_are_those_of_optax():
    """Zero included, where both halves of max(x, 0) meet: the gradient is sigmoid(0) - pixel."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(scale=6, size=(3, 5, 4, 2)), jnp.float32).at[0, 0].set(0)
    pixels = jnp.asarray(rng.uniform(size=logits.shape), jnp.float32)
    weights = jnp.arange(1.0, 4)

    def plain(x, z):
        return jnp.mean(optax.sigmoid_binary_cross_entropy(x, z), axis=(1, 2, 3))

    got, want = (
        jax.value_and_grad(lambda x, f=f: jnp.vdot(weights, f(x, pixels)))(logits)
        for f in (reconstruction_loss, plain)
    )
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-8)


def test_loss_is_a_mean_over_each_image():
    logits = jnp.stack([full(0.0, (2, 2, 3)), full(5.0, (2, 2, 3))])
    losses = reconstruction_loss(logits, jnp.ones_like(logits))
    np.testing.assert_allclose(losses, [math.log(2), math.log(1 + math.exp(-5))], rtol=1e-5)


def test_errors_are_of_pixels_not_of_logits():
    np.testing.assert_allclose(example_errors(full(0.0), full(0.75)), [0.0625] * 2)


def test_masked_examples_do_not_count():
    logits = jnp.stack([full(0.0, (2, 2, 1)), full(jnp.nan, (2, 2, 1))])
    sums = reconstruction_sums(logits, jnp.zeros_like(logits), jnp.array([True, False]))
    assert sums == Sums(pytest.approx(math.log(2)), pytest.approx(0.25), 1)


def test_quality_divides_once():
    total = add(add(Sums(0, 0, 0), Sums(1.0, 0.02, 1)), Sums(3.0, 0.02, 3))
    found = quality(total)
    assert found.loss == pytest.approx(1.0)
    assert found.mse == pytest.approx(0.01)
    assert found.rmse == pytest.approx(0.1)
    assert found.psnr == pytest.approx(20)
    assert found.examples == 4


def test_perfect_reconstruction_has_infinite_psnr():
    assert quality(Sums(0.0, 0.0, 5)).psnr == math.inf
