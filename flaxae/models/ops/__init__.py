"""The convolutional layers' operations: `plain` is their meaning, `cpu` a form for CPUs."""

from types import ModuleType
from typing import Literal

from flaxae.models.ops import cpu, plain

Choice = Literal["auto", "plain", "fast"]


def operations(choice: Choice, platform: str) -> ModuleType:
    """The form to use on `platform` ("cpu", "gpu", "tpu"): the one place where this is decided.

    GPUs and TPUs get the plain form, which cuDNN and XLA know best.
    """
    forms = {"plain": plain, "fast": cpu, "auto": cpu if platform == "cpu" else plain}
    return forms[choice]
