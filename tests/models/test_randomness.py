"""Dropout and latent noise act in training only, and as they say."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.models.autoencoder import Autoencoder
from flaxae.models.options import ComputeConfig
from flaxae.training.state import named_leaves
from tests.models.building import MODELS, SMALL, apply, build, images_of, random_params


@pytest.mark.parametrize("name", ["convolutional", "fully_connected_latent"])
def test_dropout_acts_only_in_training(name):
    model = build(replace(MODELS[name], dropout_rate=0.5), SMALL)
    params, images = random_params(model), images_of(SMALL)

    def run(seed):
        return apply(model, params, images, train=True, rngs={"dropout": jax.random.key(seed)})

    assert jnp.abs(run(0) - run(1)).max() > 0.01
    np.testing.assert_array_equal(run(0), run(0))
    without = apply(build(MODELS[name], SMALL), params, images)
    np.testing.assert_allclose(apply(model, params, images), without, rtol=1e-6)


@pytest.mark.parametrize("name", ["convolutional", "fully_connected_latent"])
def test_latent_noise_acts_only_in_training(name):
    plain = build(MODELS[name], SMALL)
    model = build(replace(MODELS[name], latent_noise=0.25), SMALL)
    params, images = random_params(model), images_of(SMALL)
    embedding = apply(model, params, images, method="encode")
    raw = apply(plain, params, images, method="encode")
    size = np.sqrt(1 + np.mean(np.square(raw), axis=-1, keepdims=True))
    np.testing.assert_allclose(embedding, raw / size, rtol=1e-4, atol=1e-5)
    clean = apply(model, params, images)
    np.testing.assert_allclose(clean, apply(model, params, embedding, method="decode"), rtol=1e-5)

    def noise(seed):
        """What the decoder of a training pass was given, less the embedding."""
        rngs = {"dropout": jax.random.key(seed)}
        _, seen = model.apply(
            {"params": params},
            images,
            train=True,
            rngs=rngs,
            capture_intermediates=lambda module, _: module.name == "decoder",
            mutable=["intermediates"],
        )
        return seen["intermediates"]["decoder"]["__call__"][0] - clean

    assert jnp.abs(noise(0) - noise(1)).max() > 1e-3
    np.testing.assert_array_equal(noise(0), noise(0))


def test_latent_noise_has_the_given_standard_deviation():
    class Repeat(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return jnp.broadcast_to(jnp.repeat(x.reshape(len(x), -1)[:, :1], 300, 1), (len(x), 300))

    class Back(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return x.reshape(len(x), 20, 15, 1)

    model = Autoencoder(Repeat(), Back(), ComputeConfig(), (20, 15, 1), latent_noise=0.25)
    images = jnp.full((50, 20, 15, 1), 1.0)
    logits = model.apply({}, images, train=True, rngs={"dropout": jax.random.key(0)})
    assert float(logits.mean()) == pytest.approx(0.5**0.5, abs=0.01)
    assert float(logits.std()) == pytest.approx(0.25, rel=0.03)


def test_dense_layers_have_dropout():
    """With everything dropped, the layers after them see only zeros."""
    model = build(replace(MODELS["dense_latent"], dropout_rate=1 - 1e-6), SMALL)
    params, images = random_params(model), images_of(SMALL)
    rngs = {"dropout": jax.random.key(0)}
    embedding = apply(model, params, images, train=True, rngs=rngs, method="encode")
    expected = jnp.broadcast_to(params["encoder"]["to_latent"]["bias"][None], (3, 5))
    np.testing.assert_allclose(embedding, expected, rtol=1e-6)
    _, sown = apply(model, params, images, train=True, rngs=rngs, mutable=["intermediates"])
    (vector,) = sown["intermediates"]["decoder"]["from_latent"]["activation"]
    bias = params["decoder"]["from_latent"]["bias"]
    np.testing.assert_allclose(
        vector, jnp.broadcast_to(jax.nn.elu(bias)[None], vector.shape), atol=1e-6
    )
    _, sown = apply(model, params, images, train=True, rngs=rngs, mutable=["intermediates"])
    (second,) = sown["intermediates"]["encoder"]["dense_1"]["activation"]
    bias = params["encoder"]["dense_1"]["bias"]
    np.testing.assert_allclose(
        second, jnp.broadcast_to(jax.nn.elu(bias)[None], second.shape), atol=1e-6
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_hidden_layer_has_dropout(name):
    """With everything dropped but one in a million, only the output's biases are left."""
    model = build(replace(MODELS[name], dropout_rate=1 - 1e-6), SMALL)
    params, images = random_params(model), images_of(SMALL)
    logits = apply(model, params, images, train=True, rngs={"dropout": jax.random.key(0)})
    biases = named_leaves(params)
    if "decoder/head/out_bias" in biases:
        bias = jnp.broadcast_to(biases["decoder/head/out_bias"][None, None, None], logits.shape)
        np.testing.assert_allclose(logits, bias, rtol=1e-6)
    else:
        pixels = jnp.broadcast_to(biases["decoder/pixels/bias"][None], (3, 9 * 6 * 3))
        np.testing.assert_allclose(logits.reshape(3, -1), pixels, rtol=1e-6)
