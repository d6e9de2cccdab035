"""GPUs to compile for: public facts of their vendor's data sheets and programming guide.

H100: https://resources.nvidia.com/en-us-tensor-core (Hopper architecture in depth, SXM5).
A100: NVIDIA A100 Tensor Core GPU Architecture (SXM4, 40 GB).
V100: NVIDIA Tesla V100 GPU Architecture (SXM2, 16 GB).
Shared memory: CUDA C++ Programming Guide, technical specifications by compute capability.
"""

from typing import NamedTuple


class Target(NamedTuple):
    """One GPU. Rates are the highest of the sheet, for dense matrices."""

    name: str
    capability: tuple[int, int]
    cores: int  # streaming multiprocessors
    lanes: int  # float32 units of a core
    clock_ghz: float
    memory_bytes: int
    bytes_per_second: float
    cache_bytes: int  # of the second level
    shared_bytes: int  # shared memory of a core
    shared_block_bytes: int  # the most of it for one block
    flops_per_second: dict[str, float]  # by type: TF32 for float32, where there is TF32

    def text(self) -> str:
        """The target as XLA reads it, a GpuTargetConfigProto."""
        major, minor = self.capability
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024
              threads_per_warp: 32
              shared_memory_per_block: 49152
              shared_memory_per_core: {self.shared_bytes}
              shared_memory_per_block_optin: {self.shared_block_bytes}
              threads_per_core_limit: 2048
              core_count: {self.cores}
              fpus_per_core: {self.lanes}
              block_dim_limit_x: 2147483647
              block_dim_limit_y: 65535
              block_dim_limit_z: 65535
              memory_bandwidth: {int(self.bytes_per_second)}
              l2_cache_size: {self.cache_bytes}
              clock_rate_ghz: {self.clock_ghz}
              device_memory_size: {self.memory_bytes}
              cuda_compute_capability {{ major: {major} minor: {minor} }}
              registers_per_core_limit: 65536
              registers_per_block_limit: 65536
            }}
            platform_name: "CUDA"
            dnn_version_info {{ major: 9 minor: 8 patch: 0 }}
            runtime_version {{ major: 12 minor: 8 patch: 0 }}
        """


_KIB, _MIB, _GIB = 2**10, 2**20, 2**30

TARGETS = {
    "h100": Target(
        "H100 SXM", (9, 0), 132, 128, 1.98, 80 * _GIB, 3.35e12, 50 * _MIB, 228 * _KIB, 227 * _KIB,
        {"float32": 494.7e12, "bfloat16": 989.4e12},
    ),
    "a100": Target(
        "A100 SXM", (8, 0), 108, 64, 1.41, 40 * _GIB, 1.555e12, 40 * _MIB, 164 * _KIB, 163 * _KIB,
        {"float32": 156e12, "bfloat16": 312e12},
    ),
    # It has neither TF32 nor bfloat16; XLA computes bfloat16 in float32.
    "v100": Target(
        "V100 SXM2", (7, 0), 80, 64, 1.53, 16 * _GIB, 0.9e12, 6 * _MIB, 96 * _KIB, 96 * _KIB,
        {"float32": 15.7e12, "bfloat16": 15.7e12},
    ),
}  # fmt: skip
