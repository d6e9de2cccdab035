"""Opens the run that a command reads."""

from typing import TYPE_CHECKING

from flaxae.commands.jax_start import start_jax
from flaxae.commands.options import RunOptions
from flaxae.config import run_folder
from flaxae.training import ProcessesConfig

if TYPE_CHECKING:
    from flaxae.api.run import Run


def open_for(options: RunOptions) -> "Run":
    """The run in `options.workdir`, after JAX has been configured for it.

    Raises:
        InputError: the folder holds no such run.
    """
    from flaxae.api.load import load
    from flaxae.runs.workdir import read_config

    workdir = run_folder(options.workdir)
    several = options if isinstance(options, ProcessesConfig) else None
    start_jax(read_config(workdir).model, options.compilation_cache, several=several)
    return load(workdir, options.checkpoint)
