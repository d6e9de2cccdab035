"""What the programs of flaxae and flax.linen share: a jitted step from a state to the next."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common.steps import Program


def program(
    train_step: Callable[[Any, Any], tuple[Any, jax.Array]],
    fresh: Any,
    to_input: Callable[[np.ndarray], Any],
    logits: Callable[[Any, Any], jax.Array],
) -> Program:
    """The program of `train_step`, (state, batch) -> (state, loss), and `logits`, of the same."""
    state = [fresh]

    def restart() -> None:
        state[0] = jax.tree.map(jnp.copy, fresh)  # a copy, because a step may donate its state

    def step(batch: Any) -> jax.Array:
        state[0], loss = train_step(state[0], batch)
        return loss

    def wait(loss: jax.Array) -> float:
        jax.block_until_ready(state)
        return float(loss)

    predict = jax.jit(logits)
    restart()
    outputs = (wait, lambda batch: np.asarray(predict(state[0], batch)))
    return Program(restart, to_input, step, *outputs, jax.default_backend())
