"""Interrupted training from Python: Ctrl-C, and going on."""

import os
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

import flaxae
from tests.api.test_train import IMAGES, ONE_BY_ONE, timeless


class Interrupt(flaxae.Callback):
    """Sends Ctrl-C after the sixth call."""

    def on_call(self, view):
        if view.step == 6:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def sigint_is_heeded():
    """However the tests were started: nohup has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_raises_after_a_checkpoint(tmp_path, sigint_is_heeded):
    whole = flaxae.train(ONE_BY_ONE, IMAGES)
    config = replace(ONE_BY_ONE, workdir=str(tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt):
        flaxae.train(config, IMAGES, callbacks=[Interrupt()])
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    stopped = flaxae.load(tmp_path / "run", "latest")
    assert 6 <= stopped.step < 8
    run = flaxae.train(config, IMAGES)
    assert timeless(run.history) == timeless(whole.history)


class StopAfter(flaxae.Callback):
    """Stops training after so many updates."""

    def __init__(self, step):
        self.step = step

    def on_call(self, view):
        return view.step == self.step


def assert_interruption_changes_nothing(config, workdir):
    """Trains at once, and in two parts in a folder, which is returned as a run."""
    whole = flaxae.train(config, IMAGES)
    config = replace(config, workdir=str(workdir))
    flaxae.train(config, IMAGES, callbacks=[StopAfter(5)])
    assert flaxae.load(workdir, "latest").step == 5
    run = flaxae.train(config, IMAGES)
    assert timeless(run.history) == timeless(whole.history)
    for a, b in zip(*(jax.tree.leaves(r.variables) for r in (run, whole)), strict=True):
        np.testing.assert_array_equal(a, b)
    return run


def test_an_interrupted_run_distorts_its_images_as_a_whole_one(tmp_path):
    objective = flaxae.ObjectiveConfig(corrupt=("affine", "mask"), rotation=20.0)
    config = replace(ONE_BY_ONE, objective=objective, epochs=3)
    run = assert_interruption_changes_nothing(config, tmp_path / "run")
    clean = flaxae.train(replace(config, objective=flaxae.ObjectiveConfig()), IMAGES)
    assert timeless(run.history) != timeless(clean.history)
    other = replace(config, objective=replace(objective, rotation=3.0), workdir=str(run.workdir))
    with pytest.raises(flaxae.InputError, match=r"--rotation 20\.0 there, 3\.0 here"):
        flaxae.train(other, IMAGES)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_an_interrupted_cosine_ends_with_the_same_weights(tmp_path, ema_decay):
    optimizer = flaxae.OptimizerConfig(
        batch_size=12, schedule="cosine", warmup=0.2, clip_norm=0.5, beta2=0.95, ema_decay=ema_decay
    )
    config = replace(ONE_BY_ONE, optimizer=optimizer, epochs=3)
    run = assert_interruption_changes_nothing(config, tmp_path / "run")
    assert run.config.optimizer.schedule_epochs == 3
    config = replace(config, workdir=str(run.workdir))
    with pytest.raises(flaxae.InputError, match="--epochs got 4, but the cosine schedule"):
        flaxae.train(replace(config, epochs=4), IMAGES)
