"""The two errors that end a command, and the checks of options that raise them."""

import dataclasses
import difflib
import errno
import functools
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_PATH = "a file or folder of the user"
PathText = Annotated[str, _PATH]  # the type of an option that names one
_LONGEST_NAME = 255  # bytes that Linux and macOS allow
_LONGEST_PATH = 3500  # bytes; Linux allows 4096, and a run has folders of its own below


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


LARGEST = 3.4e38  # of the numbers that a flag may give for computation in float32


def require(holds: bool, flag: str, value: Any, expected: str) -> None:
    """Raises InputError with the flag, its value and what was expected, unless `holds`."""
    if not holds:
        raise InputError(f"{flag} got {value}; expected {expected}")


def similar(name: str, names: Iterable[str]) -> str:
    """A question that names the most similar of `names`, for the end of a message; "" if none is.

    Example:
        >>> similar("mnsit", ["mnist", "kmnist"])
        '; did you mean mnist?'
    """
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def absolute_path(text: str | PurePath, flag: str) -> Path:
    """The absolute path that a user means, who may have written ~.

    Raises:
        InputError: the home folder, or the current folder, is not known. It names `flag`.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise InputError(
            f"{flag} got {text}, and that home folder is not known; give an absolute path, or "
            "set the variable HOME"
        ) from error
    except OSError as error:
        raise InputError(
            f"{flag} got {text}, and the current folder is gone; give an absolute path"
        ) from error


class Options:
    """Base of the option dataclasses: the types of all fields are checked, then `check` runs.

    By their type, all numbers must be finite and of at most 64 bits, text must not be empty, and a
    path must be one that can be used.

    NumPy scalars, lists and paths are converted to what the annotations say.
    """

    def __post_init__(self) -> None:
        for name, kind in option_types(type(self)).items():
            object.__setattr__(self, name, checked_option(name, getattr(self, name), kind))
        for name in path_options(type(self)):
            value = getattr(self, name)
            for path in value if isinstance(value, tuple) else (value,):
                if path is not None:
                    _require_path(f"--{name.replace('_', '-')}", path)
        self.check()

    def check(self) -> None:
        """Raises InputError if a value is out of range; the types are right already."""


def option_types(cls: type[Any]) -> dict[str, Any]:
    """The type of each field of a dataclass, also where annotations are strings."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


@functools.cache
def path_options(cls: type[Any]) -> tuple[str, ...]:
    """The fields of a dataclass that are files or folders: those whose type has `PathText`."""

    def names_path(kind: Any) -> bool:
        is_marked = _PATH in getattr(kind, "__metadata__", ())
        return is_marked or any(map(names_path, get_args(kind)))

    hints = get_type_hints(cls, include_extras=True)
    return tuple(f.name for f in dataclasses.fields(cls) if names_path(hints[f.name]))


def checked_option(name: str, value: Any, kind: Any) -> Any:
    """The value as the type `kind`; raises InputError if it is no such value."""
    value = _plain(value)
    _require_usable(f"--{name.replace('_', '-')}", value)
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


def _require_usable(flag: str, value: Any) -> None:
    """Raises InputError for numbers and text that no option can have."""
    if isinstance(value, (list, tuple)):
        for each in value:
            _require_usable(flag, each)
    elif isinstance(value, int):
        came = f"a number of {value.bit_length()} bits"
        require(-(2**63) <= value < 2**63, flag, came, "a number that 64 bits can hold")
    elif isinstance(value, float):
        require(math.isfinite(value), flag, value, "a finite number")
    elif isinstance(value, str):
        require(value != "", flag, "an empty text", "a value; without one, leave the flag out")
        require("\0" not in value, flag, repr(value), "text without null bytes")


def _require_path(flag: str, text: str) -> None:
    """Raises InputError for a path that cannot be used, whatever is there."""
    path = absolute_path(text, flag)
    try:
        names = [name.encode() for name in path.parts]
    except UnicodeEncodeError:
        require(False, flag, repr(text), "a path in UTF-8; rename the file or folder")
        return
    longest = max(map(len, names))
    expected = f"names of at most {_LONGEST_NAME} bytes, {_LONGEST_PATH} in all"
    fits = longest <= _LONGEST_NAME and len(os.fsencode(path)) <= _LONGEST_PATH
    require(fits, flag, f"{text[:60]}... (the longest name has {longest} bytes)", expected)
    try:
        mode = path.stat().st_mode
        plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        require(plain, flag, text, "a file or folder; this is a pipe, a socket or a device")
    except OSError as error:
        expected = "a file or folder; this is a link that leads to itself"
        require(error.errno != errno.ELOOP, flag, text, expected)


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's number, and a path as text."""
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value
