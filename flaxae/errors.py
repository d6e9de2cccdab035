"""The two errors that end a command, and the checks of options that raise them."""

import dataclasses
from pathlib import PurePath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec


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


class Options:
    """Base of the option dataclasses: the types of all fields are checked, then `check` runs.

    NumPy scalars, lists and paths are converted to what the annotations say.
    """

    def __post_init__(self) -> None:
        for name, kind in option_types(type(self)).items():
            object.__setattr__(self, name, checked_option(name, getattr(self, name), kind))
        self.check()

    def check(self) -> None:
        """Raises InputError if a value is out of range; the types are right already."""


def option_types(cls: type[Any]) -> dict[str, Any]:
    """The type of each field of a dataclass, also where annotations are strings."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def checked_option(name: str, value: Any, kind: Any) -> Any:
    """The value as the type `kind`; raises InputError if it is no such value."""
    value = _plain(value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        fits, expected = isinstance(value, kind), kind.__name__
        if not fits:
            raise InputError(f"{name} is {value!r}; expected a {expected}")
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        expected = "one of " + ", ".join(map(str, choices)) if choices else _name_of(kind)
        raise InputError(f"{name} is {value!r}; expected {expected} ({error})") from error


def _name_of(kind: Any) -> str:
    """A type as a message names it: "int", or "tuple[int, ...] | auto" for a union."""
    origin = get_origin(kind)
    if isinstance(kind, UnionType) or origin is Union:
        return " | ".join(_name_of(each) for each in get_args(kind))
    if origin is Literal:
        return " | ".join(map(str, get_args(kind)))
    if kind is type(None):
        return "None"
    return kind.__name__ if isinstance(kind, type) and origin is None else str(kind)


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's number, and a path as text."""
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value
