from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from flaxae.training import SCHEDULES, OptimizerConfig
from flaxae.training.schedules import make_schedule

STAIRCASE = OptimizerConfig(
    learning_rate=1e-3,
    schedule="staircase",
    warmup=0.0,
    learning_rate_decay=0.96,
    decay_steps=1000,
)
COSINE = replace(STAIRCASE, learning_rate=4e-3, schedule="cosine")


def rates(config, steps, at):
    """The rates as the compiled training step computes them."""
    schedule = jax.jit(make_schedule(config, steps))
    return np.array([schedule(step) for step in at])


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1e-3), (999, 1e-3), (1000, 0.96e-3), (2500, 0.9216e-3), (10_000, 6.648e-4)],
)
def test_learning_rate_is_a_staircase(step, rate):
    assert float(make_schedule(STAIRCASE, 20)(step)) == pytest.approx(rate, rel=1e-4)
    assert rates(STAIRCASE, 20, [step]) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("warmup", [0.0, 0.15])
@pytest.mark.parametrize("final", [0.0, 2e-4])
def test_cosine_is_that_of_optax(warmup, final):
    config = replace(COSINE, warmup=warmup, final_learning_rate=final)
    reference = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup else 4e-3,
        peak_value=4e-3,
        warmup_steps=round(warmup * 200),
        decay_steps=200,
        end_value=final,
    )
    steps = range(221)  # also beyond the end
    expected = [float(reference(step)) for step in steps]
    np.testing.assert_allclose(rates(config, 200, steps), expected, rtol=1e-5, atol=1e-9)


def test_cosine_falls_from_the_highest_to_the_final_rate():
    config = replace(COSINE, final_learning_rate=2e-3)
    found = rates(config, 100, [0, 50, 100, 1000])
    np.testing.assert_allclose(found, [4e-3, 3e-3, 2e-3, 2e-3], rtol=1e-5)


def test_constant_stays():
    config = replace(STAIRCASE, learning_rate=3e-3, schedule="constant")
    np.testing.assert_allclose(rates(config, 100, [0, 1, 99, 10_000]), 3e-3, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["staircase", "cosine", "constant"])
def test_warmup_is_a_fraction_of_the_steps(schedule):
    """A rise from 0 over 30 of 200 steps, and then the schedule from its start."""
    config = replace(STAIRCASE, schedule=schedule, decay_steps=50, warmup=0.15)
    np.testing.assert_allclose(
        rates(config, 200, [0, 6, 15, 30]), [0, 0.2e-3, 0.5e-3, 1e-3], rtol=1e-5
    )
    after = replace(config, warmup=0.0)
    np.testing.assert_allclose(
        rates(config, 200, range(30, 210, 7)), rates(after, 170, range(0, 180, 7)), rtol=1e-5
    )


def test_a_user_may_add_a_schedule(monkeypatch):
    """It gets the config and the number of steps that follow the warm-up."""
    monkeypatch.setitem(SCHEDULES, "linear", lambda config, steps: lambda step: step * steps)
    linear = replace(STAIRCASE, schedule="linear")
    assert make_schedule(linear, 7)(3) == 21
    assert float(make_schedule(replace(linear, warmup=0.5), 8)(6)) == 8
