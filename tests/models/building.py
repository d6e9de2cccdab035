"""Small models of every kind, and what is done with them."""

import jax
import jax.numpy as jnp

from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig

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
