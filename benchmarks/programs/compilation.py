"""Compiles for a GPU that need not be there, and counts what the program launches and moves."""

import importlib.util
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks.common import hlo, launches
from benchmarks.common.steps.lowered import Request, plain_flops, trace
from benchmarks.common.targets import TARGETS, Target
from benchmarks.programs import Settings
from flaxae.errors import InputError

_PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")
# The last versions that compile for every target here; XLA finds it beside the plugin.
PTXAS = "'nvidia-cuda-nvcc-cu12<13'"
_LAUNCH_SECONDS = 2.5e-6  # of the host, for each launch outside of a CUDA graph


class Program(NamedTuple):
    """What one compiled program launches and moves; bytes, seconds, and orders in memory."""

    gpu: str
    request: Request
    launches: launches.Launches  # of a loop's program: of one iteration
    transpose_bytes: int  # read plus written, inside fusions too; of the whole program
    temporary_bytes: int
    convolutions: dict[str, int]  # "NHWC x OHWI -> NHWC" -> how many
    bytes_seconds: float  # the bytes at the highest rate of the sheet
    flops_seconds: float | None  # the plain form's operations at the highest rate of the sheet
    launch_seconds: float  # by the host

    @property
    def floor_seconds(self) -> float:
        """The shortest time by bytes and by operations."""
        return max(self.bytes_seconds, self.flops_seconds or 0)


def require_plugin() -> None:
    """Raises InputError, which says what to install, if jax cannot compile for CUDA here."""
    if not any(_is_installed(name) for name in _PLUGINS):
        wheels = [f"jax-cuda12-{kind}=={jax.__version__}" for kind in ("plugin", "pjrt")]
        raise InputError(
            "compiling for a GPU needs the CUDA plugin of jax; "
            f"pip install --no-deps {' '.join(wheels)} {PTXAS}"
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def requests(settings: Settings) -> Iterator[tuple[str, Request]]:
    """What the flags ask for: one flag varied at a time, for every GPU, pass and form."""
    s = settings
    varied = {
        "layout": s.layouts,
        "dtype": s.dtypes,
        "downsample": s.downsample,
        "activation": s.activations,
        "batch_size": s.batch_sizes,
    }
    fixed = {"filters": s.filters, "image_shape": s.image_shape}
    fixed |= {name: values[0] for name, values in varied.items()}
    changes = [{}, *({name: each} for name, values in varied.items() for each in values[1:])]
    for gpu, change, passing, form in itertools.product(s.gpus, changes, s.passes, s.forms):
        yield gpu, Request(passing=passing, form=form, **fixed | change)


def compile_for(target: Target, request: Request) -> Any:
    """The `jax.stages.Compiled` program, which cannot run here."""
    topology = topologies.get_topology_desc(
        platform="cuda", topology="1x1x1", target_config=target.text()
    )
    traced = trace(request, SingleDeviceSharding(topology.devices[0]))
    return traced.lower(lowering_platforms=("cuda",)).compile()


def measure(gpu: str, request: Request) -> Program:
    """Compiles one program and counts."""
    target = TARGETS[gpu]
    compiled = compile_for(target, request)
    text = compiled.as_text()
    counted = launches.count(text, loop=request.passing == "scan")
    parsed = hlo.parse(text)
    orders = Counter(
        f"{each.input} x {each.filter} -> {each.output}"
        for each in hlo.convolutions(parsed, "cuda")
    )
    flops = plain_flops(request)
    return Program(
        gpu,
        request,
        counted,
        hlo.moves(parsed).transpose_bytes,
        compiled.memory_analysis().temp_size_in_bytes,
        dict(orders),
        counted.bytes / target.bytes_per_second,
        flops and flops / target.flops_per_second[request.dtype],
        counted.total * _LAUNCH_SECONDS,
    )
