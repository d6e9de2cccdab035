"""Flags from dataclasses: a field's name, type, default and docstring become a flag."""

import argparse
import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import docstring_parser

from flaxae.errors import InputError, option_types, similar

WORDS = ("auto",)  # that a flag of several numbers may take in place of them


class Parser(argparse.ArgumentParser):
    """Reports a wrong flag as InputError, which becomes one line, and keeps what was given only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, argument_default=argparse.SUPPRESS, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{shortened(message)}; see {self.prog} --help")

    def refuse_unknown(self, arguments: Sequence[str]) -> NoReturn:
        """Raises InputError for arguments that are no flags, with the name of a similar flag."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        given = [text.partition("=")[0] for text in arguments if text.startswith("--")]
        question = next(filter(None, (similar(flag, flags) for flag in given)), "")
        self.error(f"unrecognized arguments: {' '.join(arguments)}{question}")


def shortened(message: str) -> str:
    """The message without the middle of very long words, as a number of 5,000 digits is one."""
    return re.sub(r"(\S{60})\S{60,}(\S{20})", r"\1...\2", message)


def add_flags(
    parser: argparse.ArgumentParser,
    title: str,
    classes: Iterable[type[Any]],
    names: Iterable[str],
    recipes: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Adds the fields `names` of the dataclasses as a group of flags.

    `recipes` are the defaults of single models, by the model's name.
    """
    group = parser.add_argument_group(title)
    wanted = set(names)
    for cls in classes:
        helps, kinds = field_docs(cls), option_types(cls)
        for f in dataclasses.fields(cls):
            if f.name in wanted:
                wanted.discard(f.name)
                others = {m: values[f.name] for m, values in recipes.items() if f.name in values}
                text = _with_default(helps.get(f.name, "").rstrip("."), f, others)
                group.add_argument(flag_of(f.name), **_argument(f, kinds[f.name]), help=text)


def flag_of(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def command_line(flags: Mapping[str, Any]) -> str:
    """Values by the name of a flag as one types them."""
    return " ".join(_as_typed(name, value) for name, value in flags.items())


def _as_typed(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag_of(name if value else f"no_{name}")
    return f"{flag_of(name)} {_text(value)}".rstrip()


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
    if "bare" in f.metadata:  # a word that may be left out
        words = next(get_args(each) for each in get_args(kind) if get_origin(each) is Literal)
        return {"nargs": "?", "const": f.metadata["bare"], "choices": words}
    if isinstance(kind, UnionType) or get_origin(kind) is Union:  # None, or a word, or a value
        kind = next(each for each in get_args(kind) if _is_value(each))
    choices: Mapping[str, Any] | tuple[str, ...] | None = f.metadata.get("choices")
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        if choices is not None:
            return {"choices": tuple(choices), "nargs": "*"}
        if str in get_args(kind):
            return {"nargs": "*", "metavar": "TEXT"}
        if float in get_args(kind):
            return {"type": float, "nargs": "*", "metavar": "X"}
        return {"type": _number_or_word, "nargs": "*", "metavar": "N"}
    if get_origin(kind) is Literal:
        choices = get_args(kind)
    if choices is not None:
        kind = int if all(isinstance(choice, int) for choice in choices) else str
        return {"type": kind, "choices": tuple(choices), "required": required}
    converter: Callable[[str], Any] = kind
    metavar = {int: "N", float: "X"}.get(converter, "TEXT")
    return {"type": converter, "metavar": metavar, "required": required}


def _is_value(kind: Any) -> bool:
    return kind is not type(None) and get_origin(kind) is not Literal


def _number_or_word(text: str) -> int | str:
    return text if text in WORDS else int(text)


_number_or_word.__name__ = "int"  # which argparse names in its error


def _with_default(text: str, f: dataclasses.Field[Any], others: Mapping[str, Any]) -> str:
    """The help text, with the default unless the text says itself what none means."""
    text = text.replace("%", "%%")
    if f.default is None or f.default is dataclasses.MISSING:
        return text
    values = [_text(f.default), *(f"{model} {_text(value)}" for model, value in others.items())]
    return f"{text} (default: {'; '.join(values)})" if f.default != () else text


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
