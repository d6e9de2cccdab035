"""JAX's first look at its devices, at which it learns that there are none."""

import contextlib
import os
from collections.abc import Iterator

from flaxae.errors import InputError


@contextlib.contextmanager
def first_look() -> Iterator[None]:
    """For a block in which JAX looks for its devices.

    Raises:
        InputError: JAX finds no device of the kind that it was told to use.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # with all that JAX tried, or with no word
        asked = os.environ.get("JAX_PLATFORMS")
        what = f"JAX_PLATFORMS is {asked}, and JAX" if asked else "JAX"
        reason = str(error).partition("\n")[0].partition(". ")[0][:200]
        why = f" ({reason})" if reason else ""
        raise InputError(
            f"{what} finds no such device here{why}; unset JAX_PLATFORMS, or set it to cpu"
        ) from error
