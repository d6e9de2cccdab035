"""Strict settings for every test, and the tiny data that they train on."""

import os
import tempfile

from tests.fixtures.compiling import xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = xla_flags()
# Nothing is compiled twice, whichever tests ask for it.
cache = tempfile.TemporaryDirectory(prefix="flaxae-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = cache.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
store = tempfile.TemporaryDirectory(prefix="flaxae-tests-store-")
os.environ["FLAXAE_STORE_DIR"] = store.name
os.environ["JAX_NUM_CPU_DEVICES"] = "2"  # the same on every machine
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import jaxtyping

# Turns the shapes in the signatures into assertions; must come before flaxae is imported.
jaxtyping.install_import_hook("flaxae", "beartype.beartype")

import pytest

from flaxae.config import TrainConfig
from flaxae.data import DataConfig
from flaxae.data.sources import tfds
from flaxae.data.splits import Split
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.training import OptimizerConfig
from tests.fixtures.images import synthetic_split


@pytest.fixture
def tiny_splits(monkeypatch) -> dict[str, Split]:
    """50, 11 and 13 small images; every load of a dataset gets them."""
    counts = {"train": 50, "validation": 11, "test": 13}
    splits = {name: synthetic_split(n, seed) for seed, (name, n) in enumerate(counts.items())}
    monkeypatch.setattr(tfds, "load", lambda config: splits)
    return splits


@pytest.fixture
def tiny_config(tiny_splits, tmp_path) -> TrainConfig:
    """Two epochs of a small model on `tiny_splits`, four steps each."""
    return TrainConfig(
        model=ConvolutionalConfig(filters=(4, 3), activation="relu"),
        data=DataConfig(dataset="tiny"),
        optimizer=OptimizerConfig(
            batch_size=12, learning_rate=1e-3, schedule="staircase", warmup=0.0, beta2=0.999
        ),
        workdir=str(tmp_path / "run"),
        epochs=2,
    )


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also the longer forms of some tests")


def pytest_collection_modifyitems(config, items):
    """Leaves out the longer forms, whose shorter ones are run."""
    if not config.getoption("--slow"):
        longer = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=longer)
        items[:] = [item for item in items if item not in longer]
