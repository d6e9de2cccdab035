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
    """The program of `train_step`: (state, batch) -> (state, loss), which starts from `fresh`.

    `logits` is (state, batch) -> logits.
    """
    state = [fresh]

    def restart() -> None:
        state[0] = jax.tree.map(jnp.copy, fresh)  # a copy, because a step may donate its state

    def step(batch: Any) -> jax.Array:
        state[0], loss = train_step(state[0], batch)
        return loss

    def wait(loss: jax.Array) -> float:
        jax.block_until_ready(state)
        return float(loss)

    restart()
    compiled = jax.jit(logits)

    def predict(batch: Any) -> np.ndarray:
        return np.asarray(compiled(state[0], batch))

    return Program(restart, to_input, step, wait, predict, jax.default_backend())
