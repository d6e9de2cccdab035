"""The two halves, layouts, types, and what a model reports of itself."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.models.autoencoder import Autoencoder, extras_of
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives.losses import sigmoid_cross_entropy
from flaxae.training.state import named_leaves
from tests.models.building import MODELS, SMALL, apply, build, images_of, init, random_params


@pytest.mark.parametrize("shape", [(28, 28, 1), SMALL, (1, 5, 2), (13, 7, 5)])
@pytest.mark.parametrize("name", MODELS)
def test_shapes(name, shape):
    """Halvings round up, and the decoder's surplus is cropped."""
    model = build(MODELS[name], shape)
    variables = {"params": jax.eval_shape(lambda: init(model))}
    images = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    embedding = jax.eval_shape(partial(model.apply, method="encode"), variables, images)
    rows, columns = (-(-side // 4) for side in shape[:2])
    flat = {"fully_connected": 6, "dense": 7}.get(name, rows * columns * 3)
    assert embedding.shape == (3, MODELS[name].latent_dim or flat)
    logits = jax.eval_shape(partial(model.apply, method="decode"), variables, embedding)
    assert logits.shape == jax.eval_shape(model.apply, variables, images).shape == images.shape


@pytest.mark.parametrize("name", ["latent", "dense", "dense_latent"])
def test_decode_of_encode_is_the_whole(name):
    model = build(MODELS[name], SMALL)
    params, images = random_params(model), images_of(SMALL)
    embedding = apply(model, params, images, method="encode")
    decoded = apply(model, params, embedding, method="decode")
    np.testing.assert_allclose(decoded, apply(model, params, images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "kernels"),
    [
        ("convolutional", (13, 7, 1), "plain"),
        ("convolutional", SMALL, "fast"),
        ("stride", SMALL, "plain"),
        ("latent", (5, 8, 3), "fast"),
        ("dense", (5, 8, 3), "fast"),
        ("fully_connected", SMALL, "auto"),
    ],
)
def test_layouts_agree(name, shape, kernels):
    """The same parameters give the same embedding, logits and gradients in either layout."""
    params = random_params(build(MODELS[name], shape))
    images = images_of(shape)

    def outputs(layout):
        model = build(MODELS[name], shape, layout, kernels=kernels)

        def loss(params):
            logits = model.apply({"params": params}, images)
            return jnp.mean(sigmoid_cross_entropy(logits, images)), logits

        (_, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return apply(model, params, images, method="encode"), logits, grads

    jax.tree.map(assert_close, outputs("NHWC"), outputs("NCHW"))


def assert_close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.max(jnp.abs(b))))


def test_dense_layers_have_the_activation_and_the_latent_layers_none():
    model = build(MODELS["dense_latent"], SMALL)
    params, images = random_params(model), images_of(SMALL)
    _, sown = apply(model, params, images, mutable=["intermediates"])
    found = {name.removesuffix("/0"): leaf for name, leaf in named_leaves(sown).items()}
    found = {name.split("intermediates/")[-1]: leaf for name, leaf in found.items()}
    encoder, decoder = params["encoder"], params["decoder"]

    def layer(weights, rows, activation=jax.nn.elu):
        return activation(rows @ weights["kernel"] + weights["bias"][None])

    first = found["encoder/dense_0/activation"]
    second = layer(encoder["dense_1"], first)
    embedding = layer(encoder["to_latent"], second, activation=lambda x: x)
    np.testing.assert_allclose(
        apply(model, params, images, method="encode"), embedding, rtol=1e-4, atol=1e-5
    )
    back = layer(decoder["dense_1"], layer(decoder["dense_0"], embedding))
    assert (first.shape, second.shape, back.shape) == ((3, 11), (3, 7), (3, 11))
    vector = layer(decoder["from_latent"], back)
    np.testing.assert_allclose(
        found["decoder/from_latent/activation"], vector, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("convolutional", 6),
        ("stride", 8),
        ("latent", 8),
        ("dense", 10),
        ("dense_latent", 12),
        ("fully_connected", 4),
    ],
)
def test_watching_activations_changes_nothing(name, layers):
    model = build(MODELS[name], SMALL)
    params, images = random_params(model), images_of(SMALL)
    watched, sown = apply(model, params, images, mutable=["intermediates"])
    np.testing.assert_allclose(watched, apply(model, params, images), rtol=1e-5, atol=1e-5)
    assert len(jax.tree.leaves(sown)) == layers


@pytest.mark.parametrize(
    ("name", "layout"),
    [("convolutional", "NHWC"), ("stride", "NCHW"), ("fully_connected_latent", "NHWC")],
)
def test_bfloat16_computes_and_float32_stays(name, layout):
    params, images = random_params(build(MODELS[name], SMALL)), images_of(SMALL)
    exact = apply(build(MODELS[name], SMALL), params, images)
    model = build(MODELS[name], SMALL, layout, "bfloat16")
    rough = apply(model, params, images)
    assert rough.dtype == jnp.float32
    difference = float(jnp.max(jnp.abs(rough - exact)) / jnp.max(jnp.abs(exact)))
    assert 1e-5 < difference < 0.05
    assert {p.dtype for p in jax.tree.leaves(init(model))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("activation", ["relu", "gelu", "elu", "leaky_relu", "tanh"])
def test_activations_are_those_of_jax(activation):
    config = FullyConnectedConfig(hidden_units=(4,), activation=activation)
    model = build(config, (2, 2, 1))
    params, images = random_params(model), images_of((2, 2, 1))
    first = params["encoder"]["layers_0"]
    rows = images.reshape(3, 4) @ first["kernel"] + first["bias"][None]
    expected = (jnp.tanh if activation == "tanh" else getattr(jax.nn, activation))(rows)
    embedding = apply(model, params, images, method="encode")
    np.testing.assert_allclose(embedding, expected, rtol=1e-5, atol=1e-6)


class Bottleneck(nn.Module):
    """Adds a number for each example under a name, and passes the embedding on."""

    name_of_extra: str

    def __call__(self, embedding):
        self.sow("extras", self.name_of_extra, embedding.sum(axis=1))
        return embedding


class BottleneckedEncoder(nn.Module):
    def setup(self):
        self.first = Bottleneck("kl_loss")
        self.second = Bottleneck("usage")

    def __call__(self, images, train):
        return self.second(2 * self.first(images.reshape(len(images), -1)))


class Decoder(nn.Module):
    def __call__(self, embedding, train):
        return embedding.reshape(-1, *SMALL)


def test_extras_are_found_by_name():
    model = Autoencoder(BottleneckedEncoder(), Decoder(), ComputeConfig(), SMALL)
    images = images_of(SMALL)
    _, collections = model.apply({}, images, mutable=["extras"])
    found = extras_of(collections)
    assert set(found) == {"kl_loss", "usage"}
    sums = images.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(found["kl_loss"], sums, rtol=1e-5)
    np.testing.assert_allclose(found["usage"], 2 * sums, rtol=1e-5)


def test_a_model_without_a_bottleneck_has_no_extras():
    model = build(MODELS["fully_connected"], SMALL)
    _, collections = apply(model, init(model), images_of(SMALL), mutable=["extras"])
    assert extras_of(collections) == {}
