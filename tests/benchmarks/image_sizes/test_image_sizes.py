"""The benchmark of image sizes, at the largest one, whose memory is promised."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.image_sizes import Shape, parse_shape
from flaxae.errors import InputError

ROOT = Path(__file__).parents[3]
PROMISED = 4e9  # bytes, at 224x224x3 in batches of 32 on a CPU


def test_large_images_train_in_the_promised_memory(tmp_path):
    flags = ["--shapes", "224x224x3", "--seconds", "1", "--repeats", "1", "--output-dir"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.image_sizes", *flags, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(run.stdout.splitlines()[-1])["rows"]
    assert (row["shape"], row["batch"]) == ("224x224x3", 32)
    assert row["weights"] < 5_000_000
    assert 3e8 < row["peak_bytes"] < PROMISED


@pytest.mark.parametrize("text", ["", "28x28", "28x28x2", "0x28x1x1", "-1x2x3", "axbxc"])
def test_a_shape_is_height_width_and_channels(text):
    assert parse_shape("33x47x1") == Shape(33, 47, 1)
    with pytest.raises(InputError, match="expected HEIGHTxWIDTHxCHANNELS"):
        parse_shape(text)
