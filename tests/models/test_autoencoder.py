from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.models.autoencoder import Autoencoder, extras_of
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives.losses import sigmoid_cross_entropy
from flaxae.training.state import named_leaves

MODELS = {
    "convolutional": ConvolutionalConfig(filters=(4, 3)),
    "stride": ConvolutionalConfig(filters=(4, 3), downsample="stride"),
    "latent": ConvolutionalConfig(filters=(4, 3), latent_dim=5),
    "dense": ConvolutionalConfig(filters=(4, 3), dense_units=(11, 7)),
    "dense_latent": ConvolutionalConfig(filters=(4, 3), dense_units=(11, 7), latent_dim=5),
    "fully_connected": FullyConnectedConfig(hidden_units=(12, 6)),
    "fully_connected_latent": FullyConnectedConfig(hidden_units=(12, 6), latent_dim=5),
}
SMALL = (9, 6, 3)  # odd and even, and more than one channel


def build(config, shape, layout="NHWC", dtype="float32", kernels="auto"):
    return config.build(ComputeConfig(layout=layout, dtype=dtype, kernels=kernels), shape)


def images_of(shape, count=3):
    return jax.random.uniform(jax.random.key(7), (count, *shape))


def init(model):
    return jax.jit(model.init)(jax.random.key(0), images_of(model.image_shape))["params"]


def apply(model, params, x, **options):
    """`model.apply` as one compiled program: operation by operation it compiles for seconds."""
    keys = {"rngs": options.pop("rngs")} if "rngs" in options else {}
    run = jax.jit(lambda params, x, keys: model.apply({"params": params}, x, **keys, **options))
    return run(params, x, keys)


def random_params(model):
    """Fresh parameters with biases that are not zero, so that a bias applied wrongly shows."""
    params = init(model)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.1 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.map(jnp.add, params, tree.unflatten(noise))


@pytest.mark.parametrize(
    ("config", "weights"),
    [
        (ConvolutionalConfig(), 7_873),
        (ConvolutionalConfig(downsample="stride"), 11_361),
        (FullyConnectedConfig(), 222_384),
        # Filters that all differ: two 3x3 convolutions each way round.
        (
            ConvolutionalConfig(filters=(5, 4, 3)),
            (9 * 1 * 5 + 5)
            + (9 * 5 * 5 + 5)
            + (9 * 5 * 4 + 4)
            + (9 * 4 * 4 + 4)
            + (9 * 4 * 3 + 3)
            + (9 * 3 * 3 + 3)
            + (9 * 3 * 3 + 3)
            + (9 * 3 * 4 + 4)
            + (9 * 4 * 5 + 5)
            + (9 * 5 * 1 + 1),
        ),
        # A dense layer from 128 to 32 numbers and one back.
        (ConvolutionalConfig(latent_dim=32), 7_873 + 128 * 32 + 32 + 32 * 128 + 128),
        (FullyConnectedConfig(latent_dim=2), 222_384 + 32 * 2 + 2 + 2 * 32 + 32),
        # Dense layers from 128 to 9 and 5 numbers, and back; with a latent vector one more of each.
        (
            ConvolutionalConfig(dense_units=(9, 5)),
            7_873 + (128 * 9 + 9) + (9 * 5 + 5) + (5 * 9 + 9) + (9 * 128 + 128),
        ),
        (
            ConvolutionalConfig(dense_units=(9, 5), latent_dim=2),
            7_873
            + (128 * 9 + 9)
            + (9 * 5 + 5)
            + (5 * 2 + 2)
            + (2 * 5 + 5)
            + (5 * 9 + 9)
            + (9 * 128 + 128),
        ),
        (ConvolutionalConfig(dense_units=(9,)), 7_873 + (128 * 9 + 9) + (9 * 128 + 128)),
    ],
)
def test_number_of_weights(config, weights):
    params = jax.eval_shape(lambda: init(build(config, (28, 28, 1))))
    assert sum(p.size for p in jax.tree.leaves(params)) == weights


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


def test_initial_weights_are_he_normal():
    """Standard deviation sqrt(2 / fan-in) after truncation, and biases of zero."""
    model = build(ConvolutionalConfig(filters=(64, 64)), (8, 8, 32))
    params = named_leaves(init(model))
    for name, leaf in params.items():
        if name.endswith("bias"):
            assert not leaf.any()
        else:
            fan_in = leaf.size // leaf.shape[-1]
            assert np.std(leaf) == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
            # Truncated at two standard deviations of the normal before truncation.
            assert np.abs(leaf).max() <= 2 / 0.87962566 * (2 / fan_in) ** 0.5 + 1e-6


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


BLOCKS = [
    f"encoder/blocks_{block}/layers_{layer}/{kind}"
    for block in (0, 1)
    for layer in (0, 1)
    for kind in ("bias", "kernel")
]
UP = [
    "decoder/layers_0/bias",
    "decoder/layers_0/kernel",
    *(f"decoder/head/{part}_{kind}" for part in ("up", "out") for kind in ("bias", "kernel")),
]
VECTOR = [f"decoder/from_latent/{kind}" for kind in ("bias", "kernel")]
LATENT = [*VECTOR, *(f"encoder/to_latent/{kind}" for kind in ("bias", "kernel"))]
DENSE = [f"encoder/dense_{n}/{kind}" for n in (0, 1) for kind in ("bias", "kernel")]
BACK = [f"decoder/dense_{n}/{kind}" for n in (0, 1) for kind in ("bias", "kernel")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("convolutional", BLOCKS + UP),
        ("latent", BLOCKS + LATENT + UP),
        ("dense", BLOCKS + DENSE + BACK[:2] + VECTOR + UP),
        ("dense_latent", BLOCKS + DENSE + LATENT + BACK + UP),
    ],
)
def test_parameters_have_the_names_that_checkpoints_have(name, expected):
    """Without dense layers those of earlier versions."""
    assert set(named_leaves(jax.eval_shape(lambda: init(build(MODELS[name], SMALL))))) == set(
        expected
    )


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
    ("shape", "filters"),
    [
        ((1, 1, 1), (64,)),
        ((8, 8, 3), (64,)),
        ((9, 5, 3), (64,)),
        ((16, 16, 3), (64,)),
        ((17, 2, 3), (32, 64)),
        ((28, 28, 1), (32, 64)),
        ((33, 47, 3), (16, 32, 64)),
        ((64, 64, 3), (16, 32, 64)),
        ((65, 64, 3), (16, 16, 32, 64)),
        ((96, 160, 3), (16, 16, 16, 32, 64)),
        ((224, 224, 3), (16, 16, 16, 32, 64)),
        ((256, 256, 3), (16, 16, 16, 32, 64)),
    ],
)
def test_auto_filters_follow_the_size_of_the_images(shape, filters):
    assert ConvolutionalConfig(filters="auto").filters_for(shape) == filters
    assert ConvolutionalConfig(filters=(5, 4)).filters_for(shape) == (5, 4)
    width, height = (-(-side // 2 ** len(filters)) for side in shape[:2])
    assert max(width, height) <= 8


@pytest.mark.parametrize(
    "size", [(28, 28), (33, 47), (64, 64), (96, 160), (224, 224), (256, 256), (8, 8), (1, 1)]
)
def test_a_model_with_auto_filters_stays_small(size):
    shape = (*size, 3)
    config = ConvolutionalConfig(filters="auto", dense_units=(512,), latent_dim=64)
    model = build(config, shape)
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), images)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) < 5_000_000
    embedding = jax.eval_shape(partial(model.apply, method="encode"), params, images)
    logits = jax.eval_shape(partial(model.apply, method="decode"), params, embedding)
    assert (embedding.shape, logits.shape) == ((2, 64), images.shape)


@pytest.mark.parametrize("shape", [SMALL, (20, 28, 1)])
def test_auto_filters_are_those_that_they_stand_for(shape):
    auto = ConvolutionalConfig(filters="auto")
    model, explicit = (
        build(config, shape) for config in (auto, replace(auto, filters=auto.filters_for(shape)))
    )
    params, images = random_params(explicit), images_of(shape)
    np.testing.assert_array_equal(apply(model, params, images), apply(explicit, params, images))


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
