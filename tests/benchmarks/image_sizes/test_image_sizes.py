"""The benchmark of image sizes, at the largest one, whose memory is promised."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.memory import peak_bytes
from benchmarks.common.workers import in_process
from benchmarks.image_sizes import Shape, parse_shape
from benchmarks.image_sizes.training import rates_and_weights
from flaxae.errors import InputError

ROOT = Path(__file__).parents[3]
PROMISED = 4e9  # bytes, at 224x224x3 in batches of 32 on a CPU


def test_smoke(tmp_path):
    command = [sys.executable, "-m", "benchmarks.image_sizes", "--smoke", "--output-dir", tmp_path]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(run.stdout.splitlines()[-1])["rows"]
    assert (row["shape"], row["batch"]) == ("33x47x1", 8)
    assert len(row["samples"]) == 1


def test_large_images_train_in_the_promised_memory():
    weights, peak = in_process(_weights_and_peak, Shape(224, 224, 3), 32)
    assert weights < 5_000_000
    assert 3e8 < peak < PROMISED


def _weights_and_peak(shape, batch):
    _, weights = rates_and_weights(shape, batch, steps=2, epochs=1)
    return weights, peak_bytes()


@pytest.mark.parametrize("text", ["", "28x28", "28x28x2", "0x28x1x1", "-1x2x3", "axbxc"])
def test_a_shape_is_height_width_and_channels(text):
    assert parse_shape("33x47x1") == Shape(33, 47, 1)
    with pytest.raises(InputError, match="expected HEIGHTxWIDTHxCHANNELS"):
        parse_shape(text)
