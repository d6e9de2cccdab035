"""Where a run is computed: its devices, and how a batch is divided among and within them."""

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flaxae.config import ModelConfig, TrainConfig
from flaxae.errors import InputError
from flaxae.models import ops
from flaxae.training.parts import AXIS, BatchSums, across_devices, in_micro_batches

# Images at a time on one core: what stays in its cache. Of 28x28 pixels 32 are the fastest, of
# 128x128 8, of 256x256 4; more take twice as long and four times the memory.
_MOST_IMAGES, _FEWEST_IMAGES, _MOST_PIXELS = 32, 4, 2**17
# Steps in a call. A dispatch costs less than half a millisecond: on an accelerator a hundredth of
# one for each of 50 steps. On a CPU 10 steps of the fully connected model are 1.7 times as fast as
# one by one with 32 images, 1.2 times with 256; the convolutional one's take too long to matter.
_ON_ACCELERATORS, _OF_PRODUCTS, _OF_CONVOLUTIONS = 50, 10, 1


class Placement(NamedTuple):
    """The devices that share every batch, and in which portions they are given work."""

    mesh: Mesh
    micro_batch: int | None  # images that a device takes at once; None: its whole share
    steps_per_call: int  # training steps in one call of a compiled program

    def replicate(self, tree: Any) -> Any:
        """The arrays of a tree on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def divide(self, sums: BatchSums) -> BatchSums:
        """`sums` over a batch, computed in parts."""
        if self.micro_batch is not None:
            sums = in_micro_batches(sums, self.micro_batch)
        return across_devices(sums, self.mesh) if self.mesh.size > 1 else sums


def use_every_core(model: ModelConfig) -> None:
    """Makes a virtual device of each CPU core; has no effect once JAX has been used.

    XLA leaves a third of the second core idle in a step of the convolutional model; a device a core
    does not. The fully connected model's products share the cores by themselves, and faster.
    """
    if model.model == "fully_connected":
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if jax.config.jax_num_cpu_devices < 1:  # else somebody has decided already
        with contextlib.suppress(RuntimeError):  # JAX has been used
            jax.config.update("jax_num_cpu_devices", cores)


def keep_compiled_programs(folder: str | None) -> None:
    """Lets later starts load what this one compiles: from `folder`, unless that is "off".

    Where the environment variable JAX_COMPILATION_CACHE_DIR names a folder, that one is used.

    Raises:
        InputError: `folder` is a file.
    """
    if folder == "off" or jax.config.jax_compilation_cache_dir:
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    chosen = Path(folder).expanduser().absolute() if folder else home / "flaxae" / "xla"
    if chosen.is_file():
        raise InputError(f"--compilation-cache got {chosen}, a file; give a folder, or off")
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    # Everything: this model's many small programs take longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def place(config: TrainConfig, image_shape: tuple[int, int, int]) -> Placement:
    """All devices; micro-batches where the kernels are those made for a CPU's cache.

    `image_shape` is (height, width, channels).

    On an accelerator this model's step takes less time than its dispatch, so that many make a call.
    """
    platform = jax.default_backend()
    in_cache = ops.operations(config.compute.kernels, platform) is ops.cpu
    convolutional = config.model.model == "convolutional"
    height, width, _ = image_shape
    fitting = min(_MOST_IMAGES, max(_FEWEST_IMAGES, _MOST_PIXELS // (height * width)))
    on_cpu = _OF_CONVOLUTIONS if convolutional else _OF_PRODUCTS
    steps_per_call = on_cpu if platform == "cpu" else _ON_ACCELERATORS
    if config.profile:  # of steps after the first few, which needs several calls in an epoch
        steps_per_call = 1
    return Placement(
        Mesh(jax.devices(), (AXIS,)),
        micro_batch=fitting if in_cache and convolutional else None,
        steps_per_call=config.compute.steps_per_call or steps_per_call,
    )
