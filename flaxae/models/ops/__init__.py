"""The convolutional layers' operations: `plain` is the reference, `cpu` is optimized for CPUs."""

from types import ModuleType
from typing import Literal

from flaxae.models.ops import cpu, gpu, plain

Choice = Literal["auto", "plain", "cpu", "gpu", "fast"]


def operations(choice: Choice, platform: str) -> ModuleType:
    """Returns the module with the implementation to use on `platform` ("cpu", "gpu", "tpu").

    "plain" and "fast" choose `plain` and `cpu` on every platform. "auto" chooses `cpu` on CPUs and
    `plain` elsewhere, because XLA and cuDNN already optimize `plain` for GPUs and TPUs.
    """
    forms = {"plain": plain, "fast": cpu, "cpu": cpu, "gpu": gpu, "auto": cpu if platform == "cpu" else plain}
    return forms[choice]
