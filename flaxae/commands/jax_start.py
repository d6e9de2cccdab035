"""Configures JAX for a command, and starts it."""

import os

from flaxae.errors import InputError
from flaxae.models.options import ModelConfig


def start_jax(model: type[ModelConfig] | ModelConfig, compilation_cache: str | None) -> None:
    """`configure_jax`, and a look at the devices, so that their absence is told before all else.

    Raises:
        InputError: JAX finds no device of the kind that it was told to use.
    """
    import jax

    from flaxae.training.devices import configure_jax

    configure_jax(model, compilation_cache)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # with all that JAX tried, or with no word
        asked = os.environ.get("JAX_PLATFORMS")
        what = f"JAX_PLATFORMS is {asked}, and JAX" if asked else "JAX"
        reason = str(error).partition("\n")[0].partition(". ")[0][:200]
        why = f" ({reason})" if reason else ""
        raise InputError(
            f"{what} finds no such device here{why}; unset JAX_PLATFORMS, or set it to cpu"
        ) from error
