"""Which machine, which versions, which commit: what a result means nothing without."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np

import flaxae
from benchmarks.layouts.compiled import Runtime

NOT_REPORTED = "not reported"
_ROOT = Path(__file__).resolve().parents[2]


def describe_device() -> dict[str, Any]:
    """The device of the computation, its driver, and the machine's processor."""
    device = jax.devices()[0]
    return {
        "kind": device.device_kind,
        "platform": device.platform,
        "runtime": runtime(),
        "platform_version": device.client.platform_version,
        "driver": _driver(device.platform),
        "processor": _processor(),
        "cores": len(jax.devices()) if device.platform == "tpu" else _cores(),
        "devices": len(jax.devices()),
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",  # type: ignore[attr-defined]
    }


def describe_software() -> dict[str, str]:
    """Versions of what computes, and the commit of this repository."""
    return {
        "flaxae": flaxae.__version__,
        "commit": _commit(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,  # type: ignore[attr-defined]
        "flax": flax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def runtime() -> Runtime:
    """The backend, with the two kinds of GPU told apart."""
    device = jax.devices()[0]
    if device.platform in ("gpu", "cuda", "rocm"):
        return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    return "tpu" if device.platform == "tpu" else "cpu"


def peak_bytes() -> int | None:
    """The most device memory that this process held at once so far; None where nobody counts."""
    statistics = jax.devices()[0].memory_stats()
    return (statistics or {}).get("peak_bytes_in_use")


def name_for_files(kind: str) -> str:
    """A device's name as part of a file name: "NVIDIA A100-SXM4/40GB" is nvidia-a100-sxm4-40gb."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "device"


def _driver(platform: str) -> str:
    if platform not in ("gpu", "cuda", "rocm"):
        return NOT_REPORTED
    for command in (
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        ["rocm-smi", "--showdriverversion", "--csv"],
    ):
        if shutil.which(command[0]):
            return _output(command).splitlines()[-1]
    return NOT_REPORTED


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or NOT_REPORTED
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1] if match else NOT_REPORTED


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0


def _commit() -> str:
    commit = _output(["git", "-C", str(_ROOT), "rev-parse", "HEAD"])
    if commit == NOT_REPORTED:
        return commit
    changed = _output(["git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no"])
    return commit if changed == NOT_REPORTED else f"{commit} with uncommitted changes"


def _output(command: list[str]) -> str:
    """What a command prints, or that it printed nothing, failed, or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return NOT_REPORTED
    return done.stdout.strip() or NOT_REPORTED
