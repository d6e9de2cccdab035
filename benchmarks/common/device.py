"""The machine, the versions and the commit that a result belongs to."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

import jax

import flaxae

Runtime = Literal["cpu", "cuda", "rocm", "tpu"]
NOT_REPORTED = "not reported"
_DRIVERS = {
    "cuda": ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
    "rocm": ("rocm-smi", "--showdriverversion", "--csv"),
}
_LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "keras", "tensorflow", "tensorflow-cpu", "torch")


def describe_device() -> dict[str, Any]:
    """The device of the computation, its driver, and the machine's processor."""
    device = jax.devices()[0]
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 0))
    cpuinfo = Path("/proc/cpuinfo")
    processor = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
    driver = _DRIVERS.get(runtime())
    return {
        "kind": device.device_kind,
        "platform": device.platform,
        "runtime": runtime(),
        "platform_version": device.client.platform_version,
        "driver": _output(*driver).splitlines()[-1] if driver else NOT_REPORTED,
        "processor": processor[1] if processor else platform.processor() or NOT_REPORTED,
        "cores": len(affinity(0)),
        "devices": len(jax.devices()),
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",  # type: ignore[attr-defined]
    }


def describe_software() -> dict[str, str]:
    """Versions of what computes, and the commit of this repository."""
    found = {each.name.replace("_", "-").lower(): each.version for each in distributions()}
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    return {
        "flaxae": flaxae.__version__,
        "commit": _output(*git, "--exclude=*", "--dirty= with uncommitted changes"),
        **{library: found[library] for library in _LIBRARIES if library in found},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def runtime() -> Runtime:
    """The backend, with CUDA and ROCm distinguished."""
    device = jax.devices()[0]
    if device.platform in ("gpu", "cuda", "rocm"):
        return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return "tpu" if device.platform == "tpu" else "cpu"


def peak_bytes() -> int | None:
    """The most device memory that this process has used; None where the device does not count."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def name(described: Mapping[str, Any]) -> str:
    """A described device as a sentence names it."""
    names = {"cpu": "this CPU ({cores} cores of {processor})"}
    return names.get(described["runtime"], "this {kind}").format_map(described)


def line(described: Mapping[str, Any]) -> str:
    """A described device in one line."""
    text = "{devices} x {kind} ({runtime}, driver {driver}), {cores} cores of {processor}"
    return text.format_map(described)


def name_for_files(kind: str) -> str:
    """A device's name as part of a file name: "NVIDIA A100-SXM4/40GB" is nvidia-a100-sxm4-40gb."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "device"


def _output(*command: str) -> str:
    """What a command prints, or NOT_REPORTED if that is nothing or the command fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return NOT_REPORTED
    return done.stdout.strip() or NOT_REPORTED
