import os
import subprocess
import sys

import jax
import pytest

from flaxae.errors import InputError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.training import DeviceConfig
from flaxae.training.devices import configure_jax, place

MNIST = (28, 28, 1)
CONNECTED = FullyConnectedConfig()
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


def placement(model=None, shape=MNIST, kernels="auto", single_steps=False, **device):
    compute = ComputeConfig(kernels=kernels)
    model = model or ConvolutionalConfig()
    return place(model, compute, DeviceConfig(**device), shape, single_steps=single_steps)


@pytest.mark.parametrize(
    ("folder", "expected"), [(None, "/caches/flaxae/xla"), ("/mine", "/mine"), ("off", None)]
)
def test_where_compiled_programs_are_kept(no_cache_yet, monkeypatch, folder, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    configure_jax(CONNECTED, folder)
    assert jax.config.jax_compilation_cache_dir == expected


def test_a_file_as_compilation_cache_is_refused(no_cache_yet, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--compilation-cache got .*file, a file"):
        configure_jax(CONNECTED, str(tmp_path / "file"))


def test_the_environment_has_priority(no_cache_yet):
    jax.config.update("jax_compilation_cache_dir", "/from/the/environment")
    configure_jax(CONNECTED, "/mine")
    assert jax.config.jax_compilation_cache_dir == "/from/the/environment"


def test_micro_batches_are_for_the_fast_convolutions():
    assert placement().micro_batch == placement(kernels="fast").micro_batch == 32
    assert placement(kernels="plain").micro_batch is None
    assert placement(CONNECTED).micro_batch is None


def test_small_arrays_are_joined_with_the_form_for_gpus():
    assert placement(kernels="gpu").joined
    assert not placement(kernels="plain").joined
    assert not placement().joined


def test_steps_go_together():
    assert placement().steps_per_call == 10
    assert placement(CONNECTED).steps_per_call == 10
    assert placement(kernels="plain").steps_per_call == 10
    assert placement(CONNECTED, steps_per_call=3).steps_per_call == 3
    assert placement(CONNECTED, single_steps=True).steps_per_call == 1
    assert placement(CONNECTED, single_steps=True, steps_per_call=3).steps_per_call == 3


@pytest.mark.parametrize(
    ("height", "width", "filters", "images"),
    [(28, 28, 16, 32), (28, 28, 32, 16), (28, 28, 4, 32), (64, 64, 16, 6), (512, 512, 16, 4)],
)
def test_micro_batches_of_larger_arrays_are_smaller(height, width, filters, images):
    model = ConvolutionalConfig(filters=(filters, 8))
    assert placement(model, shape=(height, width, 3)).micro_batch == images


def test_the_number_of_devices_can_be_limited():
    assert placement(devices=1).mesh.devices.tolist() == jax.devices()[:1]
    with pytest.raises(InputError, match=r"--devices got 3, and JAX finds 2 here \(cpu\)"):
        placement(devices=3)
    with pytest.raises(InputError, match="--devices got 0"):
        placement(devices=0)


def test_all_devices_are_used():
    assert placement().mesh.size == jax.device_count() == 2


@pytest.mark.parametrize(
    ("model", "devices"), [("ConvolutionalConfig", 2), ("FullyConnectedConfig", 1)]
)
@pytest.mark.parametrize("form", ["{}", "{}()", "{}, devices=5"], ids=["class", "instance", "5"])
def test_one_device_for_each_core_where_that_is_faster(model, devices, form):
    """In its own process, because the number of devices is fixed once JAX has been used."""
    program = (
        "import os; os.sched_getaffinity = lambda _: {0, 1}\n"
        "import jax, flaxae\n"
        f"flaxae.configure_jax(flaxae.{form.format(model)})\n"
        "print(jax.device_count())"
    )
    environment = {key: os.environ[key] for key in os.environ.keys() - {"JAX_NUM_CPU_DEVICES"}}
    devices = 5 if "devices" in form else devices
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert found.stdout.strip() == str(devices), found.stderr
