"""The devices of a run, and how a batch is divided among and within them."""

import contextlib
import os
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flaxae.data.batches import WHOLE, Share
from flaxae.data.splits import Split
from flaxae.errors import InputError, absolute_path
from flaxae.models import ops
from flaxae.models.options import ComputeConfig, ModelConfig, Shape
from flaxae.training import DataOnDevice, DeviceConfig, processes
from flaxae.training.parts import AXIS, BatchSums, across_devices, in_micro_batches

# Images in a micro-batch: as many as fit a core's cache (benchmarks/scaling), in numbers of the
# model's largest array. Beyond it, the gradients of kernels become much slower.
_MOST_IMAGES, _FEWEST_IMAGES, _MOST_NUMBERS = 32, 4, 32 * 28 * 28 * 16
# Steps in a call: on an accelerator a step takes less time than its dispatch.
_STEPS_ON_CPU, _STEPS_ON_ACCELERATORS = 10, 50


class Placement(NamedTuple):
    """The devices that share every batch, and in which portions they compute it."""

    mesh: Mesh
    micro_batch: int | None  # images that a device computes at once; None: its whole share
    steps_per_call: int  # training steps in one call of a compiled program
    adaptable: bool = False  # a few steps less in a call are as good
    share: Share = WHOLE  # of this process
    joined: bool = False  # small arrays are joined where each would take a kernel of its own

    def replicate(self, tree: Any) -> Any:
        """The arrays of a tree, the same in every process, on every device."""
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        if self.share.processes == 1:
            return jax.device_put(tree, everywhere)

        def put(leaf: Any) -> jax.Array:
            # Not by device_put, which compares the processes' values by a collective of its own.
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                data = put(jax.random.key_data(leaf))
                return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
            return jax.make_array_from_process_local_data(everywhere, np.asarray(leaf))

        return jax.tree.map(put, tree)

    def together(self, batches: Any, axis: int = 0) -> Any:
        """The shares of all processes as one batch; `axis` is that of the examples.

        In a run of one process, a batch stays as it is and is divided by the program.
        """
        if self.share.processes == 1:
            return batches
        divided = NamedSharding(self.mesh, PartitionSpec(*[None] * axis, AXIS))
        put = partial(jax.make_array_from_process_local_data, divided)
        return jax.tree.map(lambda leaf: put(np.asarray(leaf)), batches)

    def divide(self, sums: BatchSums) -> BatchSums:
        """`sums` over a batch, computed in parts."""
        if self.micro_batch is not None:
            sums = in_micro_batches(sums, self.micro_batch)
        return across_devices(sums, self.mesh) if self.mesh.size > 1 else sums


def configure_jax(
    model: type[ModelConfig] | ModelConfig,
    compilation_cache: str | None = None,
    devices: int | None = None,
) -> None:
    """Sets what has to be set before JAX is used; the command line calls it, the API does not.

    On a CPU, there are then as many virtual devices as `devices` says; without it one for each core
    where the model asks for that, else one. Compiled programs are kept in the folder
    `compilation_cache` (None: flaxae in the user's cache folder; "off": nowhere), so that later
    processes load them. Where JAX has been used already, or an environment variable of JAX sets the
    same, that setting stays.

    Raises:
        InputError: `compilation_cache` is a file.

    Example:
        >>> import flaxae
        >>> flaxae.configure_jax(flaxae.ConvolutionalConfig, compilation_cache="off")
    """
    if (devices or model.device_per_core) and jax.config.jax_num_cpu_devices < 1:
        with contextlib.suppress(RuntimeError):  # JAX has been used
            jax.config.update("jax_num_cpu_devices", devices or _cores())
    if compilation_cache != "off" and not jax.config.jax_compilation_cache_dir:
        _keep_compiled_programs(compilation_cache)


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _keep_compiled_programs(folder: str | None) -> None:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    chosen = absolute_path(folder or f"{home}/flaxae/xla", "--compilation-cache")
    if chosen.is_file():
        raise InputError(f"--compilation-cache got {chosen}, a file; give a folder, or off")
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    # Everything, because these many small programs take longer to compile than to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def fits_on_device(choice: DataOnDevice, split: Split) -> bool:
    """Whether the images of a split are to be kept on the device, in every process.

    "auto": on an accelerator whose free memory is at least twice their size, because the rest is
    for the model.
    """
    return all(processes.gather("the room on the devices", _fits_here(choice, split)))


def _fits_here(choice: DataOnDevice, split: Split) -> bool:
    if choice != "auto":
        return choice in ("on", True)
    if jax.default_backend() == "cpu":
        return False
    memory = jax.local_devices()[0].memory_stats() or {}
    free = memory.get("bytes_limit", 0) - memory.get("bytes_in_use", 0)
    size = split.images.nbytes + (0 if split.targets is None else split.targets.nbytes)
    return 2 * size <= free


def place(
    model: ModelConfig,
    compute: ComputeConfig,
    device: DeviceConfig,
    image_shape: Shape,
    *,
    single_steps: bool = False,
) -> Placement:
    """The devices of a run; micro-batches if the kernels are those made for a CPU's cache.

    `single_steps` asks for one step in a call unless `device` says how many.

    Raises:
        InputError: there are fewer devices than `device` asks for.
    """
    platform = jax.default_backend()
    form = ops.operations(compute.kernels, platform)
    numbers = model.largest_array(image_shape)
    fitting = numbers and min(_MOST_IMAGES, max(_FEWEST_IMAGES, _MOST_NUMBERS // numbers))
    steps = _STEPS_ON_CPU if platform == "cpu" else _STEPS_ON_ACCELERATORS
    mesh = Mesh(_chosen_devices(device.devices), (AXIS,))
    return Placement(
        mesh,
        micro_batch=fitting if form is ops.cpu else None,
        steps_per_call=device.steps_per_call or (1 if single_steps else steps),
        adaptable=device.steps_per_call is None,
        share=Share(processes.index(), processes.count(), mesh.size),
        joined=form is ops.gpu,
    )


def _chosen_devices(count: int | None) -> list[Any]:
    """Of each process, the first `count`."""
    found = jax.local_devices()
    if count is not None and count > len(found):
        kind = found[0].platform
        raise InputError(
            f"--devices got {count}, and JAX finds {len(found)} here ({kind}); "
            "give a smaller number, or leave it out for all"
        )
    every = [jax.local_devices(process_index=index) for index in range(processes.count())]
    return [device for devices in every for device in devices[:count]]
