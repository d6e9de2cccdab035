"""Measures a state over a whole split."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from flax.training.train_state import TrainState

from flaxae.data.batches import WHOLE, Batch, Share, evaluation_batches
from flaxae.data.splits import Split
from flaxae.objectives import ObjectiveConfig
from flaxae.objectives.measures import Sums, add, means
from flaxae.training.devices import Placement
from flaxae.training.parts import Keys
from flaxae.training.state import Rng
from flaxae.training.step import eval_step

EvalStep = Callable[[TrainState, Batch, Keys], Sums]


def make_eval_step(
    objective: ObjectiveConfig, placement: Placement, measures: Sequence[str]
) -> EvalStep:
    """The jitted `eval_step`, divided among the devices."""
    step = jax.jit(placement.divide(partial(eval_step, config=objective, measures=tuple(measures))))
    if placement.share.processes == 1:
        return step

    def together(state: TrainState, batch: Batch, keys: Keys) -> Sums:
        return step(state, placement.together(batch), placement.replicate(keys))

    return together


def evaluate(
    step: EvalStep,
    state: TrainState,
    split: Split,
    batch_size: int,
    rng: Rng,
    after_batch: Callable[[], object] = lambda: None,
    share: Share = WHOLE,
) -> dict[str, Any]:
    """Means over all images, by name: the same numbers for any batch size.

    They are what the objective returns, the measures, what is derived from them, and "examples".
    `after_batch` may raise to end the evaluation early. `share` is that of the placement that
    `step` was made for.
    """
    keys = Keys(noise=rng, dropout=rng)
    total: dict[str, float] = {}
    for batch in evaluation_batches(split, min(batch_size, len(split.images)), share):
        total = add(total, step(state, batch, keys))
        after_batch()
    return means(total)
