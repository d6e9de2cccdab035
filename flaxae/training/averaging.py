"""An exponential moving average of the weights, kept in the optimizer's state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState


class AverageState(NamedTuple):
    """The average of the weights after every update so far, and the number of updates."""

    weight_average: Any  # a tree like the parameters
    updates: jax.Array


def average_weights(decay: float) -> optax.GradientTransformation:
    """Averages the weights and leaves the updates as they are; the last part of an optimizer.

    average <- d * average + (1 - d) * weights with d = min(decay, (1 + t) / (10 + t)) after t
    updates, so that the first weights are forgotten quickly (TensorFlow's
    `ExponentialMovingAverage` with `num_updates`).
    """

    def init(params: optax.Params) -> AverageState:
        # Copies, because the state is donated and no buffer may occur in it twice.
        return AverageState(jax.tree.map(jnp.copy, params), jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates, state: AverageState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AverageState]:
        assert params is not None, "the average needs the weights"
        weights = optax.apply_updates(params, updates)
        t = state.updates.astype(jnp.float32)
        step_size = 1 - jnp.minimum(decay, (1 + t) / (10 + t))
        average = optax.incremental_update(weights, state.weight_average, step_size)
        return updates, AverageState(average, state.updates + 1)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def averaged(state: TrainState) -> TrainState:
    """`state` with the average in place of its weights, if its optimizer keeps one."""
    return state.replace(params=optax.tree.get(state.opt_state, "weight_average", state.params))
