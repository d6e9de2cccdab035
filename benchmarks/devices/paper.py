"""What limits many GPUs, on paper: the bytes of the gradients, an all-reduce, and a step's time.

Nothing here is measured. An all-reduce of `size` bytes by n devices moves 2 (n - 1) / n of them
over the slowest link. Its exchanges each have the link's latency: 2 (n - 1) in a ring, about
2 log2(n) in the trees that NCCL takes for small arrays. As flaxae sums the gradients as one vector,
there is one all-reduce in a step, and nothing of the step overlaps it.
"""

import math
from typing import Any, NamedTuple

# A step of the convolutional model on an H100, float32, in a scan, from its launches and bytes:
# images in a batch -> microseconds. A prediction too.
PREDICTED_MICROSECONDS = {256: 260.0, 1024: 925.0}
_TARGET = 0.9  # of linear scaling
_BATCH = 256


class Cluster(NamedTuple):
    """Devices, and the slowest link between them."""

    name: str
    devices: int
    bytes_per_second: float  # of a device
    latency: float  # seconds of an exchange
    kernel: float = 5e-6  # seconds that the all-reduce takes at least


# NVLink 4: 450 GB/s each way, of which NCCL reaches about 0.75; InfiniBand NDR: 50 GB/s a GPU.
CLUSTERS = (
    Cluster("8 GPUs of one host", 8, 340e9, 2e-6),
    Cluster("64 machines of 8 GPUs, InfiniBand", 512, 40e9, 5e-6),
    Cluster("64 machines of 1 GPU, 10 Gb/s Ethernet", 64, 1.1e9, 30e-6),
)


def estimate(cluster: Cluster, size: int) -> dict[str, Any]:
    """What an all-reduce of `size` bytes costs there, beside a step of 256 images a device."""
    seconds = all_reduce_seconds(cluster, size)
    step = step_seconds(_BATCH)
    fixed, image = _line()
    needed = (seconds * _TARGET / (1 - _TARGET) - fixed) / image
    return {
        "cluster": cluster.name,
        "devices": cluster.devices,
        "all_reduce_microseconds": seconds * 1e6,
        "step_microseconds": step * 1e6,
        "efficiency": step / (step + seconds),
        "batch_for_90_percent": max(1, math.ceil(needed)),
    }


def all_reduce_seconds(cluster: Cluster, size: int) -> float:
    """Latency of a tree up and down, and the bytes over the slowest link."""
    n = cluster.devices
    exchanges = 2 * math.ceil(math.log2(n))
    return (
        cluster.kernel
        + exchanges * cluster.latency
        + 2 * (n - 1) / n * size / (cluster.bytes_per_second)
    )


def step_seconds(batch: int) -> float:
    """A step without communication: a line through the two predictions."""
    fixed, image = _line()
    return fixed + image * batch


def _line() -> tuple[float, float]:
    (small, fast), (large, slow) = PREDICTED_MICROSECONDS.items()
    image = (slow - fast) / (large - small)
    return (fast - image * small) / 1e6, image / 1e6
