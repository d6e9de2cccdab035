import jax
import numpy as np
import pytest

from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives import MEASURES, ObjectiveConfig
from flaxae.training import DeviceConfig, OptimizerConfig
from flaxae.training.devices import place
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.validation import evaluate, make_eval_step

MODEL = ConvolutionalConfig(filters=(4, 3), dropout_rate=0.1)
SHAPE = (9, 7, 1)
COMPUTE = ComputeConfig()


@pytest.fixture(scope="module")
def state():
    tx = make_optimizer(OptimizerConfig(), 100)
    return create_train_state(MODEL.build(COMPUTE, SHAPE), tx, make_rngs(0).init)


def eval_step(noise_factor, measures=("mse",)):
    placement = place(MODEL, COMPUTE, DeviceConfig(), SHAPE)
    return make_eval_step(ObjectiveConfig(noise_factor=noise_factor), placement, measures)


@pytest.mark.parametrize("noise_factor", [0.0, 0.4])
def test_evaluation_gives_one_number_for_any_batch_size(tiny_splits, state, noise_factor):
    split, step = tiny_splits["test"], eval_step(noise_factor)
    results = [evaluate(step, state, split, size, jax.random.key(5)) for size in (1, 4, 13, 64)]
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-6)
    assert results[0]["examples"] == 13
    assert set(results[0]) == {"loss", "mse", "rmse", "psnr", "examples"}


def test_evaluation_compares_with_the_targets_of_the_split(tiny_splits, state):
    """The last batch is padded, also its targets."""
    split = tiny_splits["test"]
    targets = np.ascontiguousarray(255 - split.images)
    logits = jax.jit(state.apply_fn)({"params": state.params}, split.images.astype("f4") / 255)
    expected = np.mean((1 / (1 + np.exp(-np.float64(logits))) - targets / 255) ** 2)
    found = evaluate(eval_step(0.0), state, split._replace(targets=targets), 5, jax.random.key(5))
    assert found["mse"] == pytest.approx(expected, rel=1e-5)
    assert found["rmse"] == pytest.approx(expected**0.5, rel=1e-5)


def test_a_user_may_add_a_measure(tiny_splits, state, monkeypatch):
    monkeypatch.setitem(
        MEASURES, "black", lambda reconstructions, images: (images == 0).mean(axis=(1, 2, 3))
    )
    split = tiny_splits["test"]
    found = evaluate(eval_step(0.0, ("black",)), state, split, 5, jax.random.key(5))
    assert set(found) == {"loss", "black", "examples"}
    assert found["black"] == pytest.approx((split.images == 0).mean(), rel=1e-5)
