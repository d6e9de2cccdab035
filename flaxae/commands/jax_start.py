"""Configures JAX for a command, and starts it."""

from flaxae.commands.several import join
from flaxae.models.options import ModelConfig
from flaxae.training import ProcessesConfig
from flaxae.training.first_look import first_look


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
        RunError: the other processes cannot be reached.
    """
    import jax

    from flaxae.training.devices import configure_jax

    together = several is not None and several.is_wanted
    configure_jax(model, compilation_cache, devices or (1 if together else None))
    if several is not None and together:
        join(several)
    with first_look():
        jax.devices()
