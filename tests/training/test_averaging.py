from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

from flaxae.training import OptimizerConfig
from flaxae.training.averaging import average_weights
from flaxae.training.state import evaluated, make_optimizer

CONSTANT = OptimizerConfig(schedule="constant", warmup=0.0)
WEIGHTS = {"a": jnp.array([1.0, -2.0, 3.0]), "b": jnp.array(0.5)}


def gradients(step):
    return {"a": jnp.array([0.3, -0.1, 0.2]) * step, "b": jnp.array(1.0) / (1 + step)}


def new_state(tx):
    return TrainState.create(apply_fn=None, params=WEIGHTS, tx=tx)


def numpy_average(weights, decay):
    """The average after each of `weights`, which begin with the initial ones."""
    average, found = weights[0], []
    for t, current in enumerate(weights[1:]):
        d = min(decay, (1 + t) / (10 + t))
        average = {name: d * average[name] + (1 - d) * current[name] for name in average}
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.15, 0.5, 0.999])
def test_the_average_is_that_of_a_loop(decay):
    """For 0.15 the decay is limited from the first update on, for 0.999 never."""
    state = new_state(optax.chain(optax.sgd(0.1), average_weights(decay)))
    step = jax.jit(lambda state, grads: state.apply_gradients(grads=grads))
    weights, averages = [state.params], []
    for t in range(12):
        state = step(state, gradients(t))
        weights.append(state.params)
        averages.append(evaluated(state).params)
    numbers = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in weights]
    for found, expected in zip(averages, numpy_average(numbers, decay), strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_updates_pass_unchanged():
    tx = average_weights(0.9)
    updates, state = tx.update(gradients(3), tx.init(WEIGHTS), WEIGHTS)
    jax.tree.map(np.testing.assert_array_equal, updates, gradients(3))
    assert int(state.updates) == 1


def test_averaging_changes_no_weights():
    plain, averaging = (
        new_state(make_optimizer(replace(CONSTANT, ema_decay=decay), 10)) for decay in (0.0, 0.9)
    )
    for t in range(3):
        plain, averaging = (s.apply_gradients(grads=gradients(t)) for s in (plain, averaging))
    jax.tree.map(np.testing.assert_array_equal, plain.params, averaging.params)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_the_averaged_weights_are_evaluated(clip_norm):
    """The first average: d = 1 / 10."""
    tx = make_optimizer(replace(CONSTANT, ema_decay=0.9, clip_norm=clip_norm), 10)
    state = new_state(tx).apply_gradients(grads=gradients(1))
    found = evaluated(state)
    for name, weights in WEIGHTS.items():
        expected = 0.1 * weights + 0.9 * state.params[name]
        np.testing.assert_allclose(found.params[name], expected, rtol=1e-6)
        assert not np.array_equal(found.params[name], state.params[name])
    assert int(found.step) == 1


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_without_an_average_the_weights_are_evaluated(clip_norm):
    tx = make_optimizer(replace(CONSTANT, ema_decay=0.0, clip_norm=clip_norm), 10)
    state = new_state(tx).apply_gradients(grads=gradients(1))
    assert evaluated(state).params is state.params


def test_no_buffer_occurs_twice():
    """Otherwise XLA refuses the state as a donated argument."""
    state = new_state(make_optimizer(replace(CONSTANT, ema_decay=0.9), 10))
    leaves = jax.tree.leaves((state.params, state.opt_state))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(pointers)) == len(pointers)
