import os
import subprocess
import sys

import jax
import pytest

from flaxae.config import ComputeConfig, ModelConfig, TrainConfig
from flaxae.errors import InputError
from flaxae.training.devices import keep_compiled_programs, place

MNIST = (28, 28, 1)
OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def no_cache_yet():
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.parametrize(
    ("folder", "expected"), [(None, "/caches/flaxae/xla"), ("/mine", "/mine"), ("off", None)]
)
def test_where_compiled_programs_are_kept(no_cache_yet, monkeypatch, folder, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    keep_compiled_programs(folder)
    assert jax.config.jax_compilation_cache_dir == expected


def test_a_file_keeps_no_compiled_programs(no_cache_yet, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--compilation-cache got .*file, a file"):
        keep_compiled_programs(str(tmp_path / "file"))


def test_the_environment_decides_first(no_cache_yet):
    jax.config.update("jax_compilation_cache_dir", "/from/the/environment")
    keep_compiled_programs("/mine")
    assert jax.config.jax_compilation_cache_dir == "/from/the/environment"


def test_micro_batches_are_for_the_fast_convolutions():
    def micro_batch(**options):
        compute = ComputeConfig(kernels=options.pop("kernels", "auto"))
        config = TrainConfig(model=ModelConfig(**options), compute=compute)
        return place(config, MNIST).micro_batch

    assert micro_batch() == micro_batch(kernels="fast") == 32
    assert micro_batch(kernels="plain") is None
    assert micro_batch(model="fully_connected") is None


def test_steps_of_the_fully_connected_model_go_together():
    def steps(**options):
        return place(TrainConfig(**options), MNIST).steps_per_call

    connected = ModelConfig(model="fully_connected")
    assert (steps(), steps(model=connected)) == (1, 10)
    assert steps(model=connected, compute=ComputeConfig(steps_per_call=3)) == 3
    assert steps(model=connected, profile=True) == 1


@pytest.mark.parametrize(
    ("height", "width", "images"), [(28, 28, 32), (64, 64, 32), (128, 128, 8), (512, 512, 4)]
)
def test_micro_batches_of_larger_images_are_smaller(height, width, images):
    assert place(TrainConfig(), (height, width, 3)).micro_batch == images


def test_every_device_takes_part():
    assert place(TrainConfig(), MNIST).mesh.size == jax.device_count() == 2


@pytest.mark.parametrize(("model", "devices"), [("convolutional", 2), ("fully_connected", 1)])
def test_a_device_for_each_core_where_that_is_faster(model, devices):
    """In a process of its own, because a process has decided when it has used JAX."""
    program = (
        "import os; os.sched_getaffinity = lambda _: {0, 1}\n"
        "import jax\n"
        "from flaxae.config import ModelConfig\n"
        "from flaxae.training.devices import use_every_core\n"
        f"use_every_core(ModelConfig(model={model!r}))\n"
        "print(jax.device_count())"
    )
    environment = {key: os.environ[key] for key in os.environ.keys() - {"JAX_NUM_CPU_DEVICES"}}
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert found.stdout.strip() == str(devices), found.stderr
