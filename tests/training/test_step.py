import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.config import ComputeConfig, ModelConfig, OptimizerConfig
from flaxae.data.store import Batch, training_batches
from flaxae.evaluation.reconstruction import evaluate
from flaxae.models.autoencoder import Autoencoder
from flaxae.training.parts import Keys
from flaxae.training.step import (
    activations,
    add_noise,
    create_train_state,
    eval_step,
    gradient_sums,
    learning_rate,
    make_rngs,
    named_leaves,
    to_float,
    train_step,
)

MODEL = ModelConfig(filters=(4, 3), dropout_rate=0.1)


@functools.cache
def new_state(model=MODEL, optimizer=OptimizerConfig(), shape=(9, 7, 1)):  # noqa: B008 - frozen
    """One state for each kind, so that nothing is compiled twice."""
    autoencoder = Autoencoder(model, ComputeConfig(), shape)
    return create_train_state(autoencoder, optimizer, make_rngs(0).init)


@functools.cache
def jitted(noise_factor):
    return jax.jit(partial(train_step, sums=partial(gradient_sums, noise_factor=noise_factor)))


@functools.cache
def jitted_eval(noise_factor):
    return jax.jit(partial(eval_step, noise_factor=noise_factor))


def test_pixels_become_0_to_1():
    images = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(to_float(images).ravel(), [0, 0.2, 1], rtol=1e-6)


def test_noise_has_the_asked_mean_and_deviation():
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


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1e-3), (999, 1e-3), (1000, 0.96e-3), (2500, 0.9216e-3), (10_000, 6.648e-4)],
)
def test_learning_rate_is_a_staircase(step, rate):
    assert learning_rate(OptimizerConfig(), step) == pytest.approx(rate, rel=1e-4)


def test_weight_decay_shrinks_kernels_and_leaves_biases():
    """With a zero gradient AdamW's update is the decay alone: p - rate * decay * p."""
    state = new_state(optimizer=OptimizerConfig(learning_rate=0.1, weight_decay=0.5))
    state = state.replace(params=jax.tree.map(jnp.ones_like, state.params))
    after = state.apply_gradients(grads=jax.tree.map(jnp.zeros_like, state.params))
    for name, leaf in named_leaves(after.params).items():
        expected = 0.95 if name.endswith("kernel") else 1.0
        np.testing.assert_allclose(leaf, expected, rtol=1e-6, err_msg=name)


def test_loss_falls(tiny_splits):
    state = new_state(optimizer=OptimizerConfig(learning_rate=0.01))
    batch = next(training_batches(tiny_splits["train"].images, 12, 0, 1))
    losses = []
    for _ in range(30):
        state, metrics = jitted(0.0)(state, batch, make_rngs(0).train)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.8 * losses[0]


def test_a_step_is_a_function_of_seed_and_step(tiny_splits):
    batch = next(training_batches(tiny_splits["train"].images, 12, 0, 1))

    def run(seed, step):
        state = new_state().replace(step=jnp.int32(step))
        return float(jitted(0.3)(state, batch, make_rngs(seed).train)[1].loss)

    assert run(0, 0) == run(0, 0)
    assert len({run(0, 0), run(0, 1), run(1, 0)}) == 3


def test_denoising_compares_with_the_clean_image(tiny_splits):
    """Noise of a thousand saturates every input: the target must still be the image."""
    images = tiny_splits["train"].images[:12]
    state = new_state()
    batch = Batch(images, np.arange(12, dtype=np.int32), np.ones(12, bool))
    noisy = jitted_eval(1000.0)(state, batch, Keys(jax.random.key(0), jax.random.key(0)))
    clean = jitted_eval(0.0)(state, batch, Keys(jax.random.key(0), jax.random.key(0)))
    assert float(noisy.loss) != float(clean.loss)
    # The untrained model says about 0.5 everywhere; against the clean image that is its error.
    expected = np.mean((0.5 - images / 255) ** 2) * 12
    assert float(noisy.squared_error) == pytest.approx(expected, rel=0.3)


def test_training_to_denoise_aims_at_the_clean_image(tiny_splits):
    """The loss of the logits on the noisy input against the clean image, worked out by hand."""
    images = tiny_splits["train"].images[:12]
    batch = Batch(images, np.arange(12, dtype=np.int32), np.ones(12, bool))
    state, keys = new_state(ModelConfig(filters=(4, 3))), Keys(jax.random.key(3), jax.random.key(4))
    noisy = add_noise(to_float(images), batch.rows, keys.noise, 5.0)
    logits = np.asarray(jax.jit(state.apply_fn)({"params": state.params}, noisy), np.float64)
    clean = images / 255
    expected = np.sum(np.mean(np.logaddexp(0, logits) - logits * clean, axis=(1, 2, 3)))
    found = jax.jit(partial(gradient_sums, noise_factor=5.0))(state, batch, keys).loss
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_no_update(tiny_splits):
    images = tiny_splits["train"].images
    rows = np.arange(12, dtype=np.int32)
    whole = Batch(images[:8], rows[:8], np.ones(8, bool))
    padded = Batch(images[:12], rows, rows < 8)
    model = ModelConfig(filters=(4, 3))
    step = jitted(0.1)
    (a, _), (b, _) = (step(new_state(model), x, make_rngs(0).train) for x in (whole, padded))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a.params, b.params
    )


@pytest.mark.parametrize("noise_factor", [0.0, 0.4])
def test_evaluation_gives_one_number_for_any_batch_size(tiny_splits, noise_factor):
    state, images = new_state(), tiny_splits["test"].images
    step = jitted_eval(noise_factor)
    results = [evaluate(step, state, images, size, jax.random.key(5)) for size in (1, 4, 13, 64)]
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-6)
    assert results[0].examples == 13


def test_activations_are_named_like_the_layers(tiny_splits):
    found = named_leaves(activations(new_state(), tiny_splits["train"].images[:5]))
    assert found["encoder/blocks_0/layers_1/activation"].shape == (5, 9, 7, 4)
    assert found["decoder/head/activation"].shape == (5, 12, 8, 4)
    assert all(float(a.min()) == 0 for a in found.values())
