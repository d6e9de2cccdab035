"""The device, its driver and memory, the versions, and what a matrix product reaches."""

import subprocess
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.common import device
from benchmarks.common.roofline import measure_ceilings


def environment(write: Callable[[Any], None], smoke: bool) -> None:
    """Rates are those of JAX's default precision, TF32 on recent GPUs, and of the highest."""
    result: dict[str, Any] = {
        "device": device.describe_device(),
        "software": device.describe_software(),
        "memory": jax.devices()[0].memory_stats(),
        "nvidia_smi": _nvidia_smi(),
        "flags": {name: getattr(jax.config, name) for name in ("jax_platforms", "jax_enable_x64")},
    }
    write(result)
    result["ceilings"] = {}
    for name, dtype, precision in (
        ("float32, default precision", "float32", None),
        ("float32, highest precision", "float32", "highest"),
        ("bfloat16", "bfloat16", None),
    ):
        with jax.default_matmul_precision(precision):
            result["ceilings"][name] = measure_ceilings(dtype, smoke=smoke)
        write(result)
    rates = [result["ceilings"][f"float32, {each} precision"] for each in ("default", "highest")]
    # TF32 is at least four times as fast as float32 where there is TF32.
    result["tf32_by_default"] = rates[0].flops_per_second > 2 * rates[1].flops_per_second
    write(result)


def _nvidia_smi() -> str:
    try:
        done = subprocess.run(("nvidia-smi", "-q"), capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"not reported: {error}"
    return done.stdout[:6000]
