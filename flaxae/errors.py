"""The two errors that end a command, and the check that raises the first of them."""

from typing import Any


class InputError(Exception):
    """Something the user gave cannot be used: the message says what came and what to do.

    Example:
        >>> flaxae.TrainConfig(epochs=0)
        Traceback (most recent call last):
        flaxae.errors.InputError: --epochs got 0; expected a whole number from 1
    """


class RunError(Exception):
    """A run cannot continue: the disk is full, the loss is NaN, the workdir is in use.

    Example:
        >>> try:
        ...     flaxae.train(config, images)  # doctest: +SKIP
        ... except flaxae.RunError as error:
        ...     print(error)
    """


def require(holds: bool, flag: str, value: Any, expected: str) -> None:
    """Raises InputError with the flag, its value and what was expected, unless `holds`."""
    if not holds:
        raise InputError(f"{flag} got {value}; expected {expected}")
