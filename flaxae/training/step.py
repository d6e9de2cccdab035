"""What one step does to the train state, and what it tells: pure functions, un-jitted.

Randomness is a function of the root key and the state's step, so that n steps equal k steps, a
restart, and n - k steps, to the bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt8

from flaxae.config import OptimizerConfig
from flaxae.data.store import AnyArray, Batch, Rows
from flaxae.models.autoencoder import Autoencoder
from flaxae.objectives.losses import reconstruction_loss
from flaxae.objectives.measures import Sums, example_errors, reconstruction_sums
from flaxae.training.parts import Keys

Images = Float[Array, "batch height width channels"]
Rng = Key[Array, ""]


class StepMetrics(NamedTuple):
    """Told by every training step."""

    loss: Float[Array, ""]  # mean over the batch, nats a pixel
    grad_norm: Float[Array, ""]  # of all gradients together, before AdamW


class Embedded(NamedTuple):
    """What the model makes of a batch of clean images."""

    vectors: Float[Array, "batch dimensions"]
    errors: Float[Array, " batch"]  # mean squared error of the reconstruction, pixels in 0..1


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


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """The learning rate of the update that follows `step` updates."""
    return float(jnp.asarray(schedule(config)(step)))


class GradientSums(NamedTuple):
    """Sums over the examples of a batch."""

    loss: Float[Array, ""]  # of each example's mean over its pixels
    grads: Any  # of that, a tree like the parameters
    examples: Float[Array, ""]


def gradient_sums(
    state: TrainState, batch: Batch, keys: Keys, *, noise_factor: float
) -> GradientSums:
    """The loss and its gradients, summed over those examples for which the mask holds."""
    images = to_float(batch.images)
    inputs = add_noise(images, batch.rows, keys.noise, noise_factor)

    def loss_sum(params: optax.Params) -> Float[Array, ""]:
        rngs = {"dropout": keys.dropout}
        logits = state.apply_fn({"params": params}, inputs, train=True, rngs=rngs)
        return jnp.sum(jnp.where(batch.mask, reconstruction_loss(logits, images), 0))

    loss, grads = jax.value_and_grad(loss_sum)(state.params)
    return GradientSums(loss, grads, jnp.sum(batch.mask, dtype=jnp.float32))


def train_step(
    state: TrainState, batch: Batch, rng: Rng, *, sums: Callable[..., GradientSums]
) -> tuple[TrainState, StepMetrics]:
    """One update of the parameters from one batch; `sums` is `gradient_sums`, whole or in parts."""
    keys = Keys(*jax.random.split(jax.random.fold_in(rng, state.step)))
    loss, grads, examples = sums(state, batch, keys)
    grads = jax.tree.map(lambda g: g / examples, grads)
    return state.apply_gradients(grads=grads), StepMetrics(loss / examples, optax.tree.norm(grads))


def many_steps(
    step: Callable[..., tuple[TrainState, StepMetrics]],
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """Several steps as one call: `(state, batches, rng, images) -> (state, metrics)`.

    `batches` is a `Batch`, or a `Rows` into `images`, with the steps along a first axis; so are
    the metrics.
    """

    def steps(
        state: TrainState, batches: Batch | Rows, rng: Rng, images: Array | None
    ) -> tuple[TrainState, StepMetrics]:
        def one(state: TrainState, part: Batch | Rows) -> tuple[TrainState, StepMetrics]:
            if isinstance(part, Rows):
                assert images is not None, "rows are of images on the device"
                part = Batch(images[part.rows], part.rows, part.mask)
            return step(state, part, rng)

        return lax.scan(one, state, batches)

    return steps


def eval_step(state: TrainState, batch: Batch, keys: Keys, *, noise_factor: float) -> Sums:
    """What a batch adds to the split's sums; input noisy where training's is, targets clean."""
    _, logits = reconstruct_step(state, batch, keys.noise, noise_factor=noise_factor)
    return reconstruction_sums(logits, to_float(batch.images), batch.mask)


def reconstruct_step(
    state: TrainState, batch: Batch, rng: Rng, *, noise_factor: float
) -> tuple[Images, Images]:
    """The model's input, noisy where training's is, and the logits of its reconstruction."""
    inputs = add_noise(to_float(batch.images), batch.rows, rng, noise_factor)
    return inputs, state.apply_fn({"params": state.params}, inputs)


def embed_step(state: TrainState, batch: Batch) -> Embedded:
    """A batch's embedding and reconstruction errors, without noise: one vector for each image."""
    images = to_float(batch.images)
    variables = {"params": state.params}
    vectors = state.apply_fn(variables, images, method="encode")
    logits = state.apply_fn(variables, vectors, method="decode")
    return Embedded(vectors, example_errors(logits, images))


def activations(state: TrainState, images: UInt8[AnyArray, "batch height width channels"]) -> Any:
    """Every hidden layer's activation on clean images, as a tree named like the parameters."""
    variables = {"params": state.params}
    _, sown = state.apply_fn(variables, to_float(images), mutable=["intermediates"])
    # A layer sows a tuple, with one entry for each time that it was called.
    return jax.tree.map(lambda calls: calls[0], sown["intermediates"], is_leaf=_is_tuple)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path, as "encoder/blocks_0/layers_0/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple)


def to_float(images: UInt8[AnyArray, "batch height width channels"]) -> Images:
    """Pixels 0..255 as float32 in 0..1."""
    return jnp.asarray(images).astype(jnp.float32) / 255


def add_noise(
    images: Images, rows: Int[AnyArray, " batch"], key: Rng, noise_factor: float
) -> Images:
    """clip(images + noise_factor * N(0, 1), 0, 1).

    An example's noise depends on `key` and its row in the split alone, not on its batch.
    """
    if noise_factor == 0:
        return images
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, rows)
    noise = jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)
    return jnp.clip(images + noise_factor * noise, 0, 1)
