import jax.numpy as jnp
import pytest

from flaxae.evaluation.dead_units import dead_units
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.training import OptimizerConfig
from flaxae.training.state import create_train_state, make_optimizer, make_rngs


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("batch_size", [4, 50])
def test_a_channel_that_no_image_moves_is_dead(tiny_splits, layout, batch_size):
    split = tiny_splits["validation"]
    config = ConvolutionalConfig(filters=(4, 3), activation="relu", latent_dim=5)
    model = config.build(ComputeConfig(layout=layout), split.image_shape)
    state = create_train_state(model, make_optimizer(OptimizerConfig(), 1), make_rngs(0).init)
    before = dead_units(state, split, batch_size, layout)
    layer = state.params["encoder"]["blocks_0"]["layers_0"]
    layer["bias"] = jnp.array([0.0, -100, -100, 0])
    after = dead_units(state, split, batch_size, layout)
    name = "encoder/blocks_0/layers_0/activation"
    assert (before[name], after[name]) == (0, 2)
    assert after["encoder/to_latent/activation"] == 0


def test_the_output_is_no_hidden_layer(tiny_splits):
    split = tiny_splits["validation"]
    config = FullyConnectedConfig(hidden_units=(6,), latent_dim=2)
    model = config.build(ComputeConfig(), split.image_shape)
    state = create_train_state(model, make_optimizer(OptimizerConfig(), 1), make_rngs(0).init)
    assert set(dead_units(state, split, 50, "NHWC")) == {
        "encoder/layers_0/activation",
        "encoder/to_latent/activation",
        "decoder/layers_0/activation",
    }
