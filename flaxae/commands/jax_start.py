"""Configures JAX for a command, and starts it."""

import os

from flaxae.commands.several import join
from flaxae.errors import InputError
from flaxae.models.options import ModelConfig
from flaxae.training import ProcessesConfig


def start_jax(
    model: type[ModelConfig] | ModelConfig,
    compilation_cache: str | None,
    devices: int | None = None,
    several: ProcessesConfig | None = None,
) -> None:
    """`configure_jax`, and a look at the devices, so that their absence is told before all else.

    Joins the processes that `several` asks for, each of which has one device on a CPU.

    Raises:
        InputError: JAX finds no device of the kind that it was told to use.
    """
    import jax

    from flaxae.training.devices import configure_jax

    together = several is not None and several.is_wanted
    configure_jax(model, compilation_cache, devices or (1 if together else None))
    try:
        if several is not None and together:
            join(several)
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # with all that JAX tried, or with no word
        asked = os.environ.get("JAX_PLATFORMS")
        what = f"JAX_PLATFORMS is {asked}, and JAX" if asked else "JAX"
        reason = str(error).partition("\n")[0].partition(". ")[0][:200]
        why = f" ({reason})" if reason else ""
        raise InputError(
            f"{what} finds no such device here{why}; unset JAX_PLATFORMS, or set it to cpu"
        ) from error
