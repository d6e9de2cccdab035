"""The step in flax.linen and optax, as anyone would write it first."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.train_step.steps.program import Program
from benchmarks.train_step.steps.workload import (
    EPSILON,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Layer,
    Workload,
    crops,
    layers,
    to_float,
)


class Autoencoder(nn.Module):
    """The layers one after the other."""

    workload: Workload

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape
        if self.workload.model == "fully_connected":
            x = x.reshape(len(x), -1)
        for index, layer in enumerate(layers(self.workload)):
            x = _module(layer, str(index))(x)
            x = nn.relu(x) if layer.activated else x
            x = nn.max_pool(x, (2, 2), (2, 2), "SAME") if layer.pooled else x
        if self.workload.model == "fully_connected":
            return x.reshape(shape)
        top, left = (surplus // 2 for surplus in crops(self.workload))
        return x[:, top : top + shape[1], left : left + shape[2]]


def build(workload: Workload, variant: str) -> Program:
    """There is one variant."""
    model = Autoencoder(workload)
    weights = {
        str(index): {"kernel": jnp.asarray(layer.kernel), "bias": jnp.asarray(layer.bias)}
        for index, layer in enumerate(layers(workload))
    }
    kernels = jax.tree.map(lambda leaf: leaf.ndim > 1, weights)
    optimizer = optax.adamw(LEARNING_RATE, eps=EPSILON, weight_decay=WEIGHT_DECAY, mask=kernels)
    state = [(weights, optimizer.init(weights))]

    @jax.jit
    def train_step(state, images):
        params, opt_state = state

        def loss_fn(params):
            logits = model.apply({"params": params}, images)
            return optax.sigmoid_binary_cross_entropy(logits, images).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def restart() -> None:
        state[:] = [(weights, optimizer.init(weights))]

    def step(images: jax.Array) -> jax.Array:
        state[0], loss = train_step(state[0], images)
        return loss

    def wait(loss: jax.Array) -> float:
        jax.block_until_ready(state)
        return float(loss)

    def to_input(images: np.ndarray) -> jax.Array:
        return jax.device_put(to_float(images))

    versions = {"jax": jax.__version__, "flax": flax.__version__}
    return Program(restart, to_input, step, wait, jax.default_backend(), versions)


def _module(layer: Layer, name: str) -> nn.Module:
    features = layer.kernel.shape[-1]
    if layer.kind == "dense":
        return nn.Dense(features, name=name)
    module = nn.Conv if layer.kind == "convolution" else nn.ConvTranspose
    return module(features, (3, 3), strides=(layer.stride, layer.stride), name=name)
