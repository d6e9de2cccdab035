"""What one step does to the train state, and what it tells: pure functions, un-jitted.

Randomness is a function of the root key and the state's step, so that n steps equal k steps, a
restart, and n - k steps, to the bit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from jaxtyping import Array, Float, Int, Key, UInt8

from flaxae.config import OptimizerConfig
from flaxae.data import Batch
from flaxae.loss import reconstruction_loss
from flaxae.metrics import Sums, example_errors, reconstruction_sums
from flaxae.model import Autoencoder

Images = Float[Array, "batch height width channels"]
Rng = Key[Array, ""]


class StepMetrics(NamedTuple):
    """Told by every training step."""

    loss: Float[Array, ""]  # mean over the batch, nats a pixel
    grad_norm: Float[Array, ""]  # of all gradients together, before AdamW


class Embedded(NamedTuple):
    """What the model makes of a batch of clean images."""

    vectors: Float[Array, "batch dimensions"]
    errors: Float[Array, "batch"]  # mean squared error of the reconstruction, pixels in 0..1


class Rngs(NamedTuple):
    """The independent uses of the root key."""

    init: Rng
    train: Rng
    evaluate: Rng


def make_rngs(seed: int) -> Rngs:
    """The root key of a seed, split by use; never reassigned."""
    return Rngs(*jax.random.split(jax.random.key(seed), 3))


def create_train_state(model: Autoencoder, config: OptimizerConfig, rng: Rng) -> TrainState:
    """Fresh parameters and optimizer state at step 0."""
    images = jnp.zeros((1, *model.image_shape))
    params = jax.jit(model.init)(rng, images)["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optimizer(config))
    return state.replace(step=jnp.int32(0))  # an array like the rest, as it will be from step 1 on


def optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW (https://arxiv.org/abs/1711.05101) that decays kernels and leaves biases alone."""

    def kernels(params: optax.Params) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.adamw(schedule(config), weight_decay=config.weight_decay, mask=kernels)


def schedule(config: OptimizerConfig) -> optax.Schedule:
    """Step -> learning rate: a staircase that falls by a factor every `decay_steps` steps."""
    return optax.exponential_decay(
        config.learning_rate, config.decay_steps, config.learning_rate_decay, staircase=True
    )


def train_step(
    state: TrainState, batch: Batch, rng: Rng, *, noise_factor: float
) -> tuple[TrainState, StepMetrics]:
    """One update of the parameters from one batch."""
    noise_key, dropout_key = jax.random.split(jax.random.fold_in(rng, state.step))
    images = to_float(batch.images)
    inputs = add_noise(images, batch.rows, noise_key, noise_factor)

    def loss_fn(params: optax.Params) -> Float[Array, ""]:
        rngs = {"dropout": dropout_key}
        logits = state.apply_fn({"params": params}, inputs, train=True, rngs=rngs)
        losses = jnp.where(batch.mask, reconstruction_loss(logits, images), 0)
        return jnp.sum(losses) / jnp.sum(batch.mask)

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), StepMetrics(loss, optax.global_norm(grads))


def eval_step(state: TrainState, batch: Batch, rng: Rng, *, noise_factor: float) -> Sums:
    """What a batch adds to the split's sums; a denoising model gets noisy input and clean targets."""
    images = to_float(batch.images)
    logits = reconstruct_step(state, batch, rng, noise_factor=noise_factor)
    return reconstruction_sums(logits, images, batch.mask)


def reconstruct_step(state: TrainState, batch: Batch, rng: Rng, *, noise_factor: float) -> Images:
    """Logits of the reconstructions."""
    inputs = add_noise(to_float(batch.images), batch.rows, rng, noise_factor)
    return state.apply_fn({"params": state.params}, inputs)


def embed_step(state: TrainState, batch: Batch) -> Embedded:
    """A batch's embedding and reconstruction errors, without noise: one vector for each image."""
    images = to_float(batch.images)
    variables = {"params": state.params}
    vectors = state.apply_fn(variables, images, method="encode")
    logits = state.apply_fn(variables, vectors, method="decode")
    return Embedded(vectors, example_errors(logits, images))


def activations(state: TrainState, images: UInt8[Array, "batch height width channels"]) -> Any:
    """Every hidden layer's activation on clean images, as a tree named like the parameters."""
    variables = {"params": state.params}
    _, sown = state.apply_fn(variables, to_float(images), mutable=["intermediates"])
    # A layer sows a tuple, with one entry for each time that it was called.
    return jax.tree.map(lambda calls: calls[0], sown["intermediates"], is_leaf=_is_tuple)


def named_leaves(tree: Any) -> dict[str, Array]:
    """The leaves of a tree by their path, as "encoder/blocks_0/layers_0/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple)


def to_float(images: UInt8[Array, "batch height width channels"]) -> Images:
    """Pixels 0..255 as float32 in 0..1."""
    return jnp.asarray(images).astype(jnp.float32) / 255


def add_noise(images: Images, rows: Int[Array, "batch"], key: Rng, noise_factor: float) -> Images:
    """clip(images + noise_factor * N(0, 1), 0, 1).

    An example's noise depends on `key` and its row in the split alone, not on its batch.
    """
    if noise_factor == 0:
        return images
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)
    noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
    return jnp.clip(images + noise_factor * noise, 0, 1)
