import jax
import pytest

from flaxae.config import ComputeConfig, ModelConfig, TrainConfig
from flaxae.placement import keep_compiled_programs, place

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


def test_the_environment_decides_first(no_cache_yet):
    jax.config.update("jax_compilation_cache_dir", "/from/the/environment")
    keep_compiled_programs("/mine")
    assert jax.config.jax_compilation_cache_dir == "/from/the/environment"


def test_micro_batches_are_for_the_fast_convolutions():
    def micro_batch(**options):
        compute = ComputeConfig(kernels=options.pop("kernels", "auto"))
        return place(TrainConfig(model=ModelConfig(**options), compute=compute)).micro_batch

    assert micro_batch() == micro_batch(kernels="fast") == 32
    assert micro_batch(kernels="plain") is None
    assert micro_batch(model="fully_connected") is None


def test_every_device_takes_part():
    assert place(TrainConfig()).mesh.size == jax.device_count() == 2
