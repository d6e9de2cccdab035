import jax
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import flaxae
from flaxae import ConvolutionalConfig, FullyConnectedConfig, OptimizerConfig
from flaxae.api import train as training
from flaxae.config.presets import PRESETS
from flaxae.data.store import memory as reading
from flaxae.errors import InputError
from flaxae.models.options import ComputeConfig
from flaxae.training.devices import Placement, place
from flaxae.training.memory import (
    Needed,
    estimate,
    require_memory,
    usable_memory,
    watched_images,
)
from flaxae.training.state import create_train_state
from flaxae.training.step import activations

MNIST = (28, 28, 1)


def needed(model, shape=MNIST, images=60_000, devices=1, micro_batch=None, **optimizer):
    placement = Placement(Mesh(jax.devices()[:devices], ("data",)), micro_batch, steps_per_call=10)
    built = model.build(ComputeConfig(), shape)
    return estimate(built, OptimizerConfig(**optimizer), shape, images, placement)


def test_weights_count_with_gradients_moments_and_an_average():
    model = FullyConnectedConfig(hidden_units=(100, 10))
    weights = 4 * (784 * 100 + 100 + 100 * 10 + 10 + 10 * 100 + 100 + 100 * 784 + 784)
    assert needed(model).weights == 4 * weights
    assert needed(model, ema_decay=0.9).weights == 5 * weights
    assert needed(model, devices=2).weights == 8 * weights


def test_a_batch_counts_with_what_the_layers_make_of_it():
    model = FullyConnectedConfig(hidden_units=(100, 10))
    layers = 2 * 4 * (100 + 10 + 100 + 784)
    assert needed(model, batch_size=32).batch == 32 * layers + 2 * 10 * 32 * 784
    assert needed(model, batch_size=32, micro_batch=8).batch == 8 * layers + 2 * 10 * 32 * 784
    # A batch has no more images than the split.
    assert needed(model, batch_size=10**8, images=50).batch == 50 * layers + 2 * 50 * 784


def activations_of(model, shape):
    """The shapes of one image's activations, as the loop traces them."""
    built = model.build(ComputeConfig(), shape)
    state = jax.eval_shape(
        lambda: create_train_state(built, optax.sgd(0.1), jax.random.key(0)),
    )
    return jax.eval_shape(activations, state, jax.ShapeDtypeStruct((1, *shape), np.uint8))


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("shape", [MNIST, (64, 64, 3)])
def test_of_ordinary_images_64_are_watched(preset, shape):
    model = (flaxae.preset(preset) if preset else flaxae.TrainConfig()).model
    assert watched_images(activations_of(model, shape)) == 64


def test_of_large_images_fewer_are_watched():
    """So many that their activations stay below 2**28 bytes, and at least one."""
    model = flaxae.preset("standard").model
    counts = [watched_images(activations_of(model, (side, side, 3))) for side in (256, 512, 1024)]
    assert counts == [15, 3, 1]
    assert watched_images(jax.ShapeDtypeStruct((2**40,), np.float32)) == 1
    assert watched_images({}) == 64  # a model that shows no activations


def test_what_is_watched_counts_where_a_batch_is_smaller():
    model = FullyConnectedConfig(hidden_units=(100, 10))
    watched = 64 * 4 * (100 + 10 + 100 + 784)
    assert needed(model, batch_size=1).batch == watched


TOO_LARGE = {
    "units": (FullyConnectedConfig(hidden_units=(99_999_999,)), "--hidden-units or --latent-dim"),
    "latent": (ConvolutionalConfig(latent_dim=10**9), "--filters or --dense-units or --latent-dim"),
    "filters": (ConvolutionalConfig(filters=(100_000, 100_000)), "lower --filters"),
    "blocks": (ConvolutionalConfig(filters=(16,) * 12), "lower --batch-size, --image-size or"),
    "absurd": (FullyConnectedConfig(hidden_units=(2**62,)), "lower --hidden-units"),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_does_not_fit_is_refused_with_the_figure(case):
    model, advice = TOO_LARGE[case]
    with pytest.raises(InputError, match=r"needs about [\d,]+\.\d GB of memory") as refused:
        require_memory(needed(model, devices=2), model, 24 * 10**9)
    assert advice in str(refused.value)


def test_a_batch_that_does_not_fit_is_refused():
    model = ConvolutionalConfig()
    with pytest.raises(InputError, match="lower --batch-size"):
        require_memory(needed(model, images=10**9, batch_size=10**8), model, 24 * 10**9)


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("shape", [MNIST, (64, 64, 3), (256, 256, 3)])
def test_presets_fit_a_small_machine(preset, shape):
    config = flaxae.preset(preset) if preset else flaxae.TrainConfig()
    placement = place(config.model, config.compute, config.device, shape)
    model = config.model.build(config.compute, shape)
    found = estimate(model, config.optimizer, shape, 60_000, placement)
    require_memory(found, config.model, 8 * 10**9)


def test_the_limit_is_that_of_the_machine_or_its_control_group(monkeypatch):
    monkeypatch.setattr(reading, "_group_limits", lambda: [12345])
    assert usable_memory() == 12345
    monkeypatch.setattr(reading, "_group_limits", list)
    assert 2**28 < usable_memory() < 2**62


def test_a_run_that_does_not_fit_writes_nothing(tiny_config, monkeypatch):
    monkeypatch.setattr(training, "usable_memory", lambda: 1000)
    with pytest.raises(InputError, match="of memory"):
        flaxae.train(tiny_config)
    assert not tiny_config.workdir_path().exists()


def test_the_limit_itself_fits():
    require_memory(Needed(80, 10), ConvolutionalConfig(), 100)
    with pytest.raises(InputError):
        require_memory(Needed(81, 10), ConvolutionalConfig(), 100)
