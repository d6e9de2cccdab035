import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig
from flaxae.training import OptimizerConfig
from flaxae.training.state import create_train_state, make_optimizer, make_rngs, named_leaves

CONSTANT = OptimizerConfig(
    learning_rate=1e-3, schedule="constant", warmup=0.0, weight_decay=0.0, beta2=0.999
)
WEIGHTS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.1, -0.2])}


@functools.cache
def new_state(optimizer):
    model = ConvolutionalConfig(filters=(4, 3), dropout_rate=0.1).build(ComputeConfig(), (9, 7, 1))
    return create_train_state(model, make_optimizer(optimizer, 100), make_rngs(0).init)


def test_weight_decay_shrinks_kernels_and_no_biases():
    """With a zero gradient AdamW's update is the decay alone: p - rate * decay * p."""
    state = new_state(replace(CONSTANT, learning_rate=0.1, weight_decay=0.5))
    state = state.replace(params=jax.tree.map(jnp.ones_like, state.params))
    after = state.apply_gradients(grads=jax.tree.map(jnp.zeros_like, state.params))
    for name, leaf in named_leaves(after.params).items():
        expected = 0.95 if name.endswith("kernel") else 1.0
        np.testing.assert_allclose(leaf, expected, rtol=1e-6, err_msg=name)


def test_the_default_optimizer_is_adamw_alone():
    """Its state has the same tree as in earlier versions, so that their checkpoints fit."""
    tx = make_optimizer(OptimizerConfig(), 100)
    adamw = optax.adamw(optax.constant_schedule(1e-3), mask=lambda p: jax.tree.map(jnp.ndim, p))
    assert jax.tree.structure(tx.init(WEIGHTS)) == jax.tree.structure(adamw.init(WEIGHTS))


def gradients(scale, seed):
    keys = jax.random.split(jax.random.key(seed), len(WEIGHTS))
    return {
        name: scale * jax.random.normal(key, leaf.shape)
        for key, (name, leaf) in zip(keys, WEIGHTS.items(), strict=True)
    }


def updates_of(config, sequence):
    """The updates of the weights for gradients one after another."""
    tx = make_optimizer(config, 100)
    state, found = tx.init(WEIGHTS), []
    for grads in sequence:
        updates, state = jax.jit(tx.update)(grads, state, WEIGHTS)
        found.append(updates)
    return found


def norm(tree):
    return float(np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(tree))))


def test_clipping_is_scaling_to_the_norm_before_adamw():
    """Gradients with a norm below the limit stay as they are; larger ones are scaled to it."""
    sequence = [gradients(scale, seed) for seed, scale in enumerate((0.1, 100.0, 0.2, 7.0))]
    assert [norm(grads) > 1 for grads in sequence] == [False, True, False, True]
    scaled = [optax.tree.scale(1 / max(norm(grads), 1), grads) for grads in sequence]
    found = updates_of(replace(CONSTANT, clip_norm=1.0), sequence)
    expected = updates_of(CONSTANT, scaled)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found, expected)


def test_clipping_limits_the_update_of_an_outlier():
    """After a thousand equal gradients Adam's update is the learning rate."""
    sequence = [*[gradients(0.1, seed=0)] * 1000, gradients(10.0, seed=0)]
    clipping = replace(CONSTANT, clip_norm=norm(sequence[0]))
    plain, clipped = (updates_of(each, sequence)[-1]["kernel"] for each in (CONSTANT, clipping))
    np.testing.assert_allclose(jnp.abs(clipped), 1e-3, rtol=1e-3)
    assert float(jnp.abs(plain).min()) > 2.5e-3


def test_beta2_is_the_decay_of_the_squared_gradients():
    tx = make_optimizer(OptimizerConfig(beta2=0.9), 100)
    grads = gradients(1.0, 0)
    _, state = tx.update(grads, tx.init(WEIGHTS), WEIGHTS)
    squares = optax.tree.get(state, "nu")
    jax.tree.map(
        lambda nu, g: np.testing.assert_allclose(nu, 0.1 * np.square(g), rtol=1e-5), squares, grads
    )


def test_the_optimizer_follows_its_schedule():
    """The rate is 0 at the first step of a warm-up, and half of its maximum halfway."""
    updates = updates_of(replace(CONSTANT, warmup=0.5), [gradients(1.0, seed=0)] * 26)
    assert norm(updates[0]) == 0
    np.testing.assert_allclose(jnp.abs(updates[25]["kernel"]), 0.5e-3, rtol=1e-3)


def test_keys_of_a_seed_are_different_and_always_the_same():
    keys = [jax.random.key_data(key).tolist() for key in (*make_rngs(0), *make_rngs(1))]
    assert len(set(map(tuple, keys))) == 6
    assert keys[:3] == [jax.random.key_data(key).tolist() for key in make_rngs(0)]
