"""The step in flax.linen and optax, written in the most direct way."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from benchmarks.common.steps import Program, in_jax
from benchmarks.common.steps.workload import Layer, Workload, crops, layers, to_float


class Autoencoder(nn.Module):
    """The layers in a sequence."""

    workload: Workload

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape
        if self.workload.model == "fully_connected":
            x = x.reshape(len(x), -1)
        for index, layer in enumerate(layers(self.workload)):
            x = _module(layer, str(index))(x)
            x = getattr(nn, layer.activation)(x) if layer.activation else x
            x = nn.max_pool(x, (2, 2), (2, 2), "SAME") if layer.pooled else x
        if self.workload.model == "fully_connected":
            return x.reshape(shape)
        top, left = (surplus // 2 for surplus in crops(self.workload))
        return x[:, top : top + shape[1], left : left + shape[2]]


def build(workload: Workload, form: str) -> Program:
    """There is one form."""
    model = Autoencoder(workload)
    weights = {
        str(index): {"kernel": jnp.asarray(layer.kernel), "bias": jnp.asarray(layer.bias)}
        for index, layer in enumerate(layers(workload))
    }
    kernels = jax.tree.map(lambda leaf: leaf.ndim > 1, weights)
    rates, beta2, decay, epsilon = workload.recipe
    table = jnp.asarray(rates)  # an index beyond its end is taken as the last one
    options: Any = {"b2": beta2, "eps": epsilon, "weight_decay": decay, "mask": kernels}
    optimizer = optax.adamw(lambda step: table[step], **options)

    @jax.jit
    def train_step(state, images):
        params, opt_state = state

        def loss_fn(params):
            logits = model.apply({"params": params}, images)
            return optax.sigmoid_binary_cross_entropy(logits, images).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    fresh = (weights, optimizer.init(weights))

    def logits(state, images) -> Any:
        return model.apply({"params": state[0]}, images)

    return in_jax.program(train_step, fresh, lambda x: jax.device_put(to_float(x)), logits)


def _module(layer: Layer, name: str) -> nn.Module:
    features = layer.kernel.shape[-1]
    if layer.kind == "dense":
        return nn.Dense(features, name=name)
    module = nn.Conv if layer.kind == "convolution" else nn.ConvTranspose
    return module(features, (3, 3), strides=(layer.stride, layer.stride), name=name)
