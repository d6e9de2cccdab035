"""The convolutional layers' operations: `plain` is the reference, `cpu` and `gpu` are optimized."""

from types import ModuleType
from typing import Literal

from flaxae.models.ops import cpu, gpu, plain

Choice = Literal["auto", "plain", "cpu", "gpu", "fast"]

_FORMS = {"plain": plain, "cpu": cpu, "gpu": gpu, "fast": cpu}  # "fast" is an earlier name of "cpu"


def operations(choice: Choice, platform: str) -> ModuleType:
    """Returns the module with the implementation to use on `platform` ("cpu", "gpu", "tpu").

    "auto" is the form made for the platform, or `plain`; any other choice is the same on every
    platform.
    """
    return _FORMS.get(platform if choice == "auto" else choice, plain)
