"""The train state: parameters, optimizer state and step; the optimizer; the keys of randomness."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from jaxtyping import Array, Key

from flaxae.models.autoencoder import Autoencoder
from flaxae.training import OptimizerConfig
from flaxae.training.averaging import average_weights, averaged
from flaxae.training.schedules import make_schedule

Rng = Key[Array, ""]


class Rngs(NamedTuple):
    """The independent uses of the root key."""

    init: Rng
    train: Rng
    evaluate: Rng


def make_rngs(seed: int) -> Rngs:
    """The root key of a seed, split by use."""
    return Rngs(*jax.random.split(jax.random.key(seed), 3))


def create_train_state(
    model: Autoencoder, tx: optax.GradientTransformation, rng: Rng
) -> TrainState:
    """Initial parameters and optimizer state at step 0."""
    images = jnp.zeros((1, *model.image_shape))
    params = jax.jit(model.init)(rng, images)["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    return state.replace(step=jnp.int32(0))  # an array, as it is from step 1 on


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """AdamW (https://arxiv.org/abs/1711.05101) that decays kernels but no biases.

    `steps` is what the schedule is spread over. Clipping comes before AdamW, averaging after it.
    """

    def kernels(params: optax.Params) -> Any:
        return jax.tree.map(lambda p: p.ndim > 1, params)

    schedule = make_schedule(config, steps)
    parts = [
        config.clip_norm and optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, b2=config.beta2, weight_decay=config.weight_decay, mask=kernels),
        config.ema_decay and average_weights(config.ema_decay),
    ]
    chosen = [part for part in parts if part]
    # AdamW alone is not wrapped, so that its state has the same tree as in earlier versions.
    return chosen[0] if len(chosen) == 1 else optax.chain(*chosen)


def evaluated(state: TrainState) -> TrainState:
    """`state` with the weights that are validated, evaluated and exported.

    These are the averaged weights if the optimizer keeps an average.
    """
    return averaged(state)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their path, as "encoder/blocks_0/layers_0/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
