"""Number, names and first values of the weights."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.training.state import named_leaves
from tests.models.building import MODELS, SMALL, apply, build, images_of, init, random_params


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
