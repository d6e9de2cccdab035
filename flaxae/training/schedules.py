"""Schedules of the learning rate: functions of the step."""

import optax

from flaxae.objectives import find
from flaxae.training import SCHEDULES, OptimizerConfig


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Step -> learning rate: a linear warm-up, then the schedule that `config` names.

    `steps` is the number of training steps that warm-up and schedule are spread over.
    """
    warmup = round(config.warmup * steps)
    main = find(SCHEDULES, config.schedule)(config, steps - warmup)
    if warmup == 0:
        return main
    rise = optax.linear_schedule(0.0, config.learning_rate, warmup)
    return optax.join_schedules([rise, main], [warmup])


def staircase(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The rate falls by a factor every `decay_steps` steps."""
    return optax.exponential_decay(
        config.learning_rate, config.decay_steps, config.learning_rate_decay, staircase=True
    )


def cosine(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Half a cosine from `learning_rate` to `final_learning_rate` (arXiv:1608.03983)."""
    floor = config.final_learning_rate / config.learning_rate
    return optax.cosine_decay_schedule(config.learning_rate, max(steps, 1), floor)


def constant(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """`learning_rate` at every step."""
    return optax.constant_schedule(config.learning_rate)
