import functools
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxae.data.batches import Batch, training_batches
from flaxae.errors import InputError
from flaxae.models.autoencoder import Autoencoder
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives import LOSSES, ObjectiveConfig
from flaxae.objectives.corruptions import add_noise, corrupt
from flaxae.objectives.ssim import structural_similarity
from flaxae.training import OptimizerConfig
from flaxae.training.parts import Keys
from flaxae.training.state import create_train_state, make_optimizer, make_rngs, named_leaves
from flaxae.training.step import (
    StepMetrics,
    activations,
    as_vector,
    embed_step,
    eval_step,
    gradient_sums,
    many_steps,
    times_one,
    to_float,
    train_step,
)

MODEL = ConvolutionalConfig(filters=(4, 3), activation="relu", dropout_rate=0.1)
PLAIN = ConvolutionalConfig(filters=(4, 3), activation="relu")
CONSTANT = OptimizerConfig(learning_rate=1e-3, schedule="constant", warmup=0.0, beta2=0.999)
KEYS = Keys(jax.random.key(3), jax.random.key(4))


@functools.cache
def new_state(model=MODEL, optimizer=CONSTANT, shape=(9, 7, 1)):
    """One state for each kind, so that nothing is compiled twice."""
    autoencoder = model.build(ComputeConfig(), shape)
    return create_train_state(autoencoder, make_optimizer(optimizer, 100), make_rngs(0).init)


@functools.cache
def jitted_sums(noise_factor=0.0, loss="bce"):
    config = ObjectiveConfig(noise_factor=noise_factor, loss=loss)
    return jax.jit(partial(gradient_sums, config=config))


@functools.cache
def jitted(noise_factor):
    return jax.jit(partial(train_step, sums=jitted_sums(noise_factor)))


@functools.cache
def jitted_eval(noise_factor=0.0, loss="bce"):
    config = ObjectiveConfig(noise_factor=noise_factor, loss=loss)
    return jax.jit(partial(eval_step, config=config, measures=("mse",)))


def first_twelve(split, targets=None):
    return Batch(split.images[:12], np.arange(12, dtype=np.int32), np.ones(12, bool), targets)


def logits_on(state, images):
    """The model's logits, computed apart from the steps."""
    return np.asarray(jax.jit(state.apply_fn)({"params": state.params}, images), np.float64)


def cross_entropy(logits, pixels):
    """Each image's mean, by NumPy."""
    return np.mean(np.logaddexp(0, logits) - logits * pixels, axis=(1, 2, 3))


def squared_error(logits, pixels):
    """Each image's mean, by NumPy."""
    return np.mean((1 / (1 + np.exp(-logits)) - pixels) ** 2, axis=(1, 2, 3))


@pytest.mark.parametrize("examples", [12, 11])
def test_joined_gradients_are_the_same(tiny_splits, examples):
    """With layers of the GPU form, with dropout between them, and with a layer of linen's own."""
    batch = jax.tree.map(lambda x: x[:examples], first_twelve(tiny_splits["train"]))
    for model in (MODEL, replace(PLAIN, latent_dim=3)):
        autoencoder = model.build(ComputeConfig(kernels="gpu"), (9, 7, 1))
        state = create_train_state(autoencoder, make_optimizer(CONSTANT, 1), make_rngs(0).init)
        config = ObjectiveConfig()
        results = []
        for joined, looped in ((False, False), (True, False), (True, True)):
            sums = partial(gradient_sums, config=config, joined=joined)
            step = jax.jit(partial(train_step, sums=sums, joined=joined, looped=looped))
            results.append(step(state, batch, KEYS[0]))
        (other, expected), *joint = results
        for one, metrics in joint:
            leaves = zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True)
            for got, want in leaves:
                np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)
            np.testing.assert_allclose(metrics.grad_norm, expected.grad_norm, rtol=1e-5)
            np.testing.assert_allclose(metrics.values["loss"], expected.values["loss"], rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_kernels_times_one_are_the_kernels(seed):
    params = new_state().params
    times = jax.jit(times_one)
    products = times(params, jax.random.key(seed))
    jax.tree.map(np.testing.assert_array_equal, products, params)
    # XLA does not know the one, so the products are in the program.
    text = times.lower(params, jax.random.key(seed)).compile().as_text()
    assert "multiply" in text


@pytest.mark.parametrize(("kernels", "first"), [("HWIO", [0, 1, 2]), ("OHWI", [0, 5, 10])])
def test_a_vector_has_the_kernels_in_the_order_that_was_asked_for(kernels, first):
    """The last axis of this kernel has five features."""
    tree = {"bias": jnp.array([-1.0]), "kernel": jnp.arange(60.0).reshape(2, 3, 2, 5)}
    vector, restore = as_vector(tree, kernels)
    assert vector[:4].tolist() == [-1, *first]
    for got, want in zip(jax.tree.leaves(restore(vector)), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("steps", "looped"), [(1, False), (3, True)])
def test_a_step_knows_whether_it_is_in_a_loop(steps, looped):
    found = []

    def step(state, batch, rng, looped):
        found.append(looped)
        return state.replace(step=state.step + 1), StepMetrics({}, jnp.float32(0))

    images = np.zeros((steps, 2, 1, 1, 1), np.uint8)
    batches = Batch(images, np.zeros((steps, 2), np.int32), np.ones((steps, 2), bool), None)
    state, _ = many_steps(step)(new_state(), batches, make_rngs(0).train, None)
    assert state.step == steps
    assert set(found) == {looped}


def test_pixels_become_0_to_1():
    images = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(to_float(images).ravel(), [0, 0.2, 1], rtol=1e-6)


def test_floats_stay_as_they_are():
    images = np.array([0, 0.3, 1], np.float32).reshape(3, 1, 1, 1)
    np.testing.assert_array_equal(to_float(images), images)


def test_loss_falls(tiny_splits):
    state = new_state(optimizer=replace(CONSTANT, learning_rate=0.01))
    batch = next(training_batches(tiny_splits["train"], 12, 0, 1))
    losses = []
    for _ in range(30):
        state, metrics = jitted(0.0)(state, batch, make_rngs(0).train)
        losses.append(float(metrics.values["loss"]))
    assert losses[-1] < 0.8 * losses[0]


def test_a_step_is_a_function_of_seed_and_step(tiny_splits):
    batch = next(training_batches(tiny_splits["train"], 12, 0, 1))

    def run(seed, step):
        state = new_state().replace(step=jnp.int32(step))
        return float(jitted(0.3)(state, batch, make_rngs(seed).train)[1].values["loss"])

    assert run(0, 0) == run(0, 0)
    assert len({run(0, 0), run(0, 1), run(1, 0)}) == 3


def test_denoising_compares_with_the_clean_image(tiny_splits):
    """Noise of a thousand saturates every input: the target must still be the image."""
    batch, state = first_twelve(tiny_splits["train"]), new_state()
    noisy = jitted_eval(1000.0)(state, batch, Keys(jax.random.key(0), jax.random.key(0)))
    clean = jitted_eval(0.0)(state, batch, Keys(jax.random.key(0), jax.random.key(0)))
    assert float(noisy["loss"]) != float(clean["loss"])
    # The untrained model says about 0.5 everywhere; against the clean image that is its error.
    expected = np.mean((0.5 - batch.images / 255) ** 2) * 12
    assert float(noisy["mse"]) == pytest.approx(expected, rel=0.3)


def test_training_with_noise_compares_with_the_clean_image(tiny_splits):
    """The loss of the logits on the noisy input against the clean image, computed by hand."""
    batch, state = first_twelve(tiny_splits["train"]), new_state(PLAIN)
    noisy = add_noise(to_float(batch.images), batch.rows, KEYS.noise, 5.0)
    expected = cross_entropy(logits_on(state, noisy), batch.images / 255).sum()
    found = jitted_sums(5.0)(state, batch, KEYS).values["loss"]
    assert float(found) == pytest.approx(expected, rel=1e-5)


DISTORTING = ObjectiveConfig(corrupt=("affine", "mask"), rotation=90.0, noise_factor=0.1)


@pytest.mark.parametrize("with_targets", [False, True])
def test_training_with_corruptions_compares_with_what_is_not_distorted(tiny_splits, with_targets):
    targets = flipped(tiny_splits["train"]) if with_targets else None
    batch, state = first_twelve(tiny_splits["train"], targets), new_state(PLAIN)
    inputs = corrupt(to_float(batch.images), batch.rows, KEYS.noise, DISTORTING)
    logits, clean = logits_on(state, inputs), (batch.images if targets is None else targets) / 255
    expected = cross_entropy(logits, clean).sum()
    wrong = [cross_entropy(logits, np.asarray(inputs, np.float64)).sum()]
    wrong.append(cross_entropy(logits_on(state, to_float(batch.images)), clean).sum())
    assert all(abs(expected - each) > 1e-4 * expected for each in wrong), "else it could not fail"
    sums = jax.jit(partial(gradient_sums, config=DISTORTING))
    assert float(sums(state, batch, KEYS).values["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("noise_factor", [0.0, 0.5])
def test_an_evaluation_corrupts_no_input_but_with_noise(tiny_splits, noise_factor):
    batch, state = first_twelve(tiny_splits["train"]), new_state(PLAIN)
    config = ObjectiveConfig(corrupt=("affine", "shift", "mask"), noise_factor=noise_factor)
    step = jax.jit(partial(eval_step, config=config, measures=("mse",)))
    expected = jitted_eval(noise_factor)(state, batch, KEYS)
    jax.tree.map(np.testing.assert_array_equal, step(state, batch, KEYS), expected)


def flipped(split):
    """Targets that differ from the images: mirrored, and with black and white exchanged."""
    return np.ascontiguousarray(255 - split.images[:12, :, ::-1])


@pytest.mark.parametrize(("loss", "error"), [("bce", cross_entropy), ("mse", squared_error)])
@pytest.mark.parametrize("noise_factor", [0.0, 0.5])
def test_the_loss_compares_with_the_targets(tiny_splits, loss, error, noise_factor):
    targets = flipped(tiny_splits["train"])
    batch, state = first_twelve(tiny_splits["train"], targets), new_state(PLAIN)
    inputs = add_noise(to_float(batch.images), batch.rows, KEYS.noise, noise_factor)
    expected = error(logits_on(state, inputs), targets / 255).sum()
    wrong = error(logits_on(state, inputs), batch.images / 255).sum()
    assert abs(expected - wrong) > 0.005 * expected, "else the test could not fail"
    trained = jitted_sums(noise_factor, loss)(state, batch, KEYS).values["loss"]
    assert float(trained) == pytest.approx(expected, rel=1e-5)
    evaluated = jitted_eval(noise_factor, loss)(state, batch, KEYS)["loss"]
    assert float(evaluated) == pytest.approx(expected, rel=1e-5)


def test_the_measures_and_the_errors_of_an_embedding_compare_with_the_targets(tiny_splits):
    targets = flipped(tiny_splits["train"])
    batch, state = first_twelve(tiny_splits["train"], targets), new_state(PLAIN)
    expected = squared_error(logits_on(state, to_float(batch.images)), targets / 255)
    measured = jitted_eval()(state, batch, KEYS)["mse"]
    assert float(measured) == pytest.approx(expected.sum(), rel=1e-5)
    np.testing.assert_allclose(jax.jit(embed_step)(state, batch).errors, expected, rtol=1e-5)


def test_training_moves_the_output_to_the_targets(tiny_splits):
    """The images are black and the targets white, so the output must become white."""
    images, rows = np.zeros((4, 9, 7, 1), np.uint8), np.arange(4, dtype=np.int32)
    batch = Batch(images, rows, np.ones(4, bool), np.full_like(images, 255))
    state = new_state(PLAIN, replace(CONSTANT, learning_rate=0.1))
    for _ in range(10):
        state, _ = jitted(0.0)(state, batch, make_rngs(0).train)
    assert logits_on(state, to_float(images)).mean() > 0.5


def test_equal_targets_change_nothing(tiny_splits):
    batch = first_twelve(tiny_splits["train"])
    explicit = batch._replace(targets=batch.images)
    found = [jitted_sums()(new_state(PLAIN), each, KEYS) for each in (batch, explicit)]
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_padding_changes_no_update(tiny_splits):
    images = tiny_splits["train"].images
    rows = np.arange(12, dtype=np.int32)
    whole = Batch(images[:8], rows[:8], np.ones(8, bool))
    padded = Batch(images[:12], rows, rows < 8)
    step = jitted(0.1)
    (a, _), (b, _) = (step(new_state(PLAIN), x, make_rngs(0).train) for x in (whole, padded))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a.params, b.params
    )


class Bottleneck(nn.Module):
    """An encoder whose embedding is a multiple of the image, with two extras."""

    @nn.compact
    def __call__(self, images, train):
        scale = self.param("scale", nn.initializers.constant(2.0), ())
        embedding = images.reshape(len(images), -1) * scale
        self.sow("extras", "size_loss", jnp.mean(embedding**2, axis=1))
        self.sow("extras", "brightness", jnp.mean(embedding, axis=1))
        return embedding


class Reshape(nn.Module):
    image_shape: tuple

    def __call__(self, embedding, train):
        return embedding.reshape(-1, *self.image_shape)


def test_extras_of_the_model_are_reported_and_extra_losses_are_minimized(tiny_splits):
    shape = (9, 7, 1)
    model = Autoencoder(Bottleneck(), Reshape(shape), ComputeConfig(), shape)
    state = create_train_state(model, make_optimizer(OptimizerConfig(), 1), make_rngs(0).init)
    batch = first_twelve(tiny_splits["train"])
    pixels = batch.images.astype(np.float64) / 255
    size = np.mean((2 * pixels) ** 2, axis=(1, 2, 3)).sum()
    values, grads = jitted_sums()(state, batch, KEYS)
    assert set(values) == {"loss", "size_loss", "brightness", "examples"}
    assert float(values["size_loss"]) == pytest.approx(size, rel=1e-5)
    assert float(values["brightness"]) == pytest.approx(2 * pixels.mean() * 12, rel=1e-5)
    cross_entropies = cross_entropy(2 * pixels, pixels).sum()
    assert float(values["loss"]) == pytest.approx(cross_entropies + size, rel=1e-5)
    # By hand: d/ds of softplus(s x) - s x^2 + (s x)^2 at s = 2.
    slope = pixels / (1 + np.exp(-2 * pixels)) - pixels**2 + 2 * 2 * pixels**2
    expected = np.mean(slope, axis=(1, 2, 3)).sum()
    assert float(grads["encoder"]["scale"]) == pytest.approx(expected, rel=1e-5)
    sums = jitted_eval()(state, batch, KEYS)
    assert set(sums) == {"loss", "size_loss", "brightness", "mse", "examples"}
    _, metrics = jitted(0.0)(state, batch, make_rngs(0).train)
    assert float(metrics.values["size_loss"]) == pytest.approx(size / 12, rel=1e-5)


@pytest.mark.parametrize("with_targets", [False, True])
def test_the_weighted_ssim_with_the_targets_is_added_to_the_loss(tiny_splits, with_targets):
    targets = flipped(tiny_splits["train"]) if with_targets else None
    batch, state = first_twelve(tiny_splits["train"], targets), new_state(PLAIN)
    logits = logits_on(state, to_float(batch.images))
    compared = to_float(batch.images if targets is None else targets)
    expected = 0.25 * (1 - structural_similarity(jax.nn.sigmoid(logits), compared)).sum()
    assert expected > 1, "else the test could not fail"
    without = gradient_sums(state, batch, KEYS, config=ObjectiveConfig())
    config = ObjectiveConfig(ssim_weight=0.25)
    values, grads = jax.jit(partial(gradient_sums, config=config))(state, batch, KEYS)
    assert set(values) == {"loss", "ssim_loss", "examples"}
    assert float(values["ssim_loss"]) == pytest.approx(float(expected), rel=1e-4)
    total = float(without.values["loss"] + expected)
    assert float(values["loss"]) == pytest.approx(total, rel=1e-5)
    assert optax.tree.norm(optax.tree.sub(grads, without.grads)) > 0.01 * optax.tree.norm(grads)
    evaluated = jax.jit(partial(eval_step, config=config, measures=()))(state, batch, KEYS)
    assert float(evaluated["loss"]) == pytest.approx(total, rel=1e-5)


def test_a_user_may_add_an_objective(tiny_splits, monkeypatch):
    def twice(logits, images, extras):
        return {"loss": 2 * jnp.mean(logits, axis=(1, 2, 3)), "mean": jnp.mean(images, (1, 2, 3))}

    monkeypatch.setitem(LOSSES, "twice", twice)
    batch, state = first_twelve(tiny_splits["train"]), new_state(PLAIN)
    values = jitted_sums(loss="twice")(state, batch, KEYS).values
    expected = 2 * logits_on(state, to_float(batch.images)).mean() * 12
    assert float(values["loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(values["mean"]) == pytest.approx(batch.images.mean() / 255 * 12, rel=1e-5)


def test_activations_are_named_like_the_layers(tiny_splits):
    found = named_leaves(activations(new_state(), tiny_splits["train"].images[:5]))
    assert found["encoder/blocks_0/layers_1/activation"].shape == (5, 9, 7, 4)
    assert found["decoder/head/activation"].shape == (5, 12, 8, 4)
    assert all(float(a.min()) == 0 for a in found.values())


@pytest.mark.parametrize(
    "values",
    [
        lambda logits: {"error": logits.mean((1, 2, 3))},
        lambda logits: {"loss": logits.mean()},
        lambda logits: {"loss": logits.mean((1, 2, 3)), "steps": logits.mean((1, 2, 3))},
    ],
)
def test_an_objective_without_one_loss_an_example_is_refused(tiny_splits, monkeypatch, values):
    monkeypatch.setitem(LOSSES, "mine", lambda logits, images, extras: values(logits))
    rows = np.arange(12, dtype=np.int32)
    batch = Batch(tiny_splits["train"].images[:12], rows, rows < 12)
    step = partial(gradient_sums, config=ObjectiveConfig(loss="mine"))
    with pytest.raises(InputError, match=r"the objective mine returned .* for 12 examples"):
        jax.eval_shape(step, new_state(), batch, Keys(*jax.random.split(jax.random.key(0))))
