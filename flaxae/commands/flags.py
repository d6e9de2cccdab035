"""Flags from dataclasses: a field's name, type, default and docstring become a flag."""

import argparse
import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin

import docstring_parser

from flaxae.errors import InputError, option_types


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag as InputError, which becomes one line, and keeps what was given only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, argument_default=argparse.SUPPRESS, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def add_flags(
    parser: argparse.ArgumentParser, title: str, classes: Iterable[type[Any]], names: Iterable[str]
) -> None:
    """Adds the fields `names` of the dataclasses as a group of flags."""
    group = parser.add_argument_group(title)
    wanted = set(names)
    for cls in classes:
        helps, kinds = field_docs(cls), option_types(cls)
        for f in dataclasses.fields(cls):
            if f.name in wanted:
                wanted.discard(f.name)
                text = _with_default(helps.get(f.name, "").rstrip("."), f)
                group.add_argument(flag_of(f.name), **_argument(f, kinds[f.name]), help=text)


def flag_of(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def field_docs(cls: type[Any]) -> dict[str, str]:
    """The string below each field, for all classes that `cls` inherits fields from."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            with contextlib.suppress(OSError, TypeError):  # a class without source text
                parsed = docstring_parser.parse_from_object(base)
                docs |= {p.arg_name: " ".join((p.description or "").split()) for p in parsed.params}
    return docs


def _argument(f: dataclasses.Field[Any], kind: Any) -> dict[str, Any]:
    """What argparse has to know of a field of this type."""
    required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    if get_origin(kind) is UnionType:  # an optional value
        kind = next(each for each in get_args(kind) if each is not type(None))
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        return {"type": get_args(kind)[0], "nargs": "*", "metavar": "N"}
    choices: Mapping[str, Any] | tuple[str, ...] | None = f.metadata.get("choices")
    if get_origin(kind) is Literal:
        choices = get_args(kind)
    if choices is not None:
        return {"choices": tuple(choices), "required": required}
    converter: Callable[[str], Any] = kind
    metavar = {int: "N", float: "X"}.get(converter, "TEXT")
    return {"type": converter, "metavar": metavar, "required": required}


def _with_default(text: str, f: dataclasses.Field[Any]) -> str:
    """The help text, with the default unless the text says itself what none means."""
    text = text.replace("%", "%%")
    if f.default is None or f.default is dataclasses.MISSING:
        return text
    value = " ".join(map(str, f.default)) if isinstance(f.default, tuple) else f.default
    return f"{text} (default: {value})"
