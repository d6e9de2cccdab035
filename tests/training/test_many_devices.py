"""Eight devices, in a process of its own, because their number is fixed once JAX has been used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

# Batches of 12 do not divide by 8; dropout, latent noise and noise are drawn by the row.
PROGRAM = """
import json, sys
import flaxae
from flaxae.config.flags import from_flags
from tests.fixtures.images import synthetic_split

splits = {name: synthetic_split(n, s) for s, (name, n) in
          enumerate({"train": 50, "validation": 11, "test": 13}.items())}
random = {"dropout_rate": 0.2, "latent_noise": 0.1, "noise_factor": 0.2}
recipe = {"batch_size": 12, "learning_rate": 1e-3, "schedule_epochs": 4, **random}
convolutional = {**recipe, "filters": (4, 3), "ssim_weight": 0.1}
small = {**recipe, "model": "fully_connected", "hidden_units": (8, 4), "workdir": sys.argv[1]}

def trained(flags, devices, epochs):
    return flaxae.train(from_flags({**flags, "devices": devices, "epochs": epochs}), splits)

histories = {devices: trained(convolutional, devices, 1).history for devices in (1, 2, 8)}
moved = [trained(small, devices, epochs).step for devices, epochs in ((8, 1), (1, 2), (2, 3))]
history = flaxae.load(sys.argv[1], images=splits).history
unmoved = trained({**small, "workdir": sys.argv[1] + "-unmoved"}, 1, 3).history

# Small batches and a high rate, which amplify rounding.
rough = {"model": "fully_connected", "hidden_units": (8, 4), "activation": "elu", "batch_size": 12}
rough |= {"learning_rate": 0.02, "schedule": "cosine", "seed": 0, **random}
seeds = [trained({**rough, "seed": seed}, 1, 10).history[-1] for seed in range(3)]
whole = [seeds, [trained(rough, devices, 10).history[-1] for devices in (2, 8)]]
print(json.dumps([histories, moved, history, unmoved, whole]))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("run") / "moved")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def losses(history):
    names = ("train_loss", "validation_loss", "grad_norm")
    return np.array([[record[name] for name in names] for record in history])


def test_the_number_of_devices_changes_no_loss(results):
    one, two, eight = (losses(history) for history in results[0].values())
    np.testing.assert_allclose(two, one, rtol=1e-5)
    np.testing.assert_allclose(eight, one, rtol=1e-5)


def test_a_run_goes_on_with_any_number_of_devices(results):
    _, steps, moved, unmoved, _ = results
    assert steps == [4, 8, 12]
    np.testing.assert_allclose(losses(moved), losses(unmoved), rtol=1e-5)


def test_whole_runs_differ_by_less_than_seeds_do(results):
    seeds, several = (losses(runs)[:, :2] for runs in results[-1])
    spread = np.ptp(seeds, axis=0)
    assert (np.abs(several - seeds[0]) < spread / 20).all(), (several, seeds)
