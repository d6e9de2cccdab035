"""The entry point: parses the command line, runs the command, and returns the exit status."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from flaxae.commands import data, embed, evaluate, reconstruct, report, score, train
from flaxae.commands.ending import status_of
from flaxae.commands.flags import WORDS, Parser, add_flags, command_line, flag_of
from flaxae.commands.options import ProcessOptions
from flaxae.commands.output import write_any_text
from flaxae.config import TrainConfig
from flaxae.config.flags import from_flags, own_fields, sections
from flaxae.config.presets import PRESETS
from flaxae.errors import InputError
from flaxae.models import MODELS
from flaxae.models.options import ModelConfig
from flaxae.training import ProcessesConfig

COMMANDS: dict[str, ModuleType] = {
    "train": train,
    "evaluate": evaluate,
    "reconstruct": reconstruct,
    "embed": embed,
    "score": score,
    "report": report,
    "data": data,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 2 for bad input, 1 if a run cannot continue."""
    write_any_text()
    return status_of(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; an exception says why it ended early."""
    parser, parsers = _parsers()
    found, unknown = parser.parse_known_args(arguments)
    flags = vars(found)
    name = flags.pop("command")
    module = COMMANDS[name]
    if unknown:
        _refuse_several(name, unknown)
        parsers[name].refuse_unknown(unknown)
    return _run(module, _options(module, flags))


def _refuse_several(name: str, unknown: Sequence[str]) -> None:
    """Raises InputError if a command of one process was given the flags of several."""
    of_several = {flag_of(field) for field in _names(ProcessesConfig)}
    given = [word for word in unknown if word.partition("=")[0] in of_several]
    if given:
        able = [each for each, command in COMMANDS.items() if _takes_several(command)]
        raise InputError(
            f"{name} runs in one process, and got {given[0]}; start it once and leave the flag out "
            f"({', '.join(able)} run in several)"
        )


def _takes_several(command: ModuleType) -> bool:
    return issubclass(command.Options, ProcessesConfig)


def _run(command: ModuleType, options: Any) -> int:
    """Runs a command; the preparation of images is shown."""
    from flaxae.report.preparation import shown

    with shown():
        return command.run(options)


def _options(command: ModuleType, flags: Mapping[str, Any]) -> Any:
    """The command's `Options` from the flags that were given."""
    values = {k: _several(v) if isinstance(v, list) else v for k, v in flags.items()}
    if command is not train:
        return command.Options(**values)
    names = [name for name in _names(train.Options) if name != "config"]
    process: dict[str, Any] = {name: values.pop(name) for name in names if name in values}
    config = from_flags(values)
    if "preset" in values and config.workdir is None:
        name = config.workdir_path(values["preset"])
        config = dataclasses.replace(config, workdir=str(name))
    return train.Options(config=config, **process)


def _several(values: list[Any]) -> Any:
    """The value of a flag that takes numbers, or a word in place of them."""
    is_word = len(values) == 1 and values[0] in WORDS
    return values[0] if is_word else tuple(values)


def _parsers() -> tuple[Parser, Mapping[str, Parser]]:
    """The parser of the whole command line, and that of each command by its name."""
    parser = Parser(description="Autoencoders for images with JAX and Flax.")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="command", parser_class=Parser
    )
    for name, command in COMMANDS.items():
        text = f"{_first_line(command.Options)}."
        subparser = commands.add_parser(name, help=text, description=text)
        if command is train:
            _add_train_flags(subparser)
        else:
            _add_command_flags(subparser, command.Options)
    return parser, commands.choices


def _add_command_flags(parser: argparse.ArgumentParser, options: type[Any]) -> None:
    """The flags of another command: the run, its own, and last what few users need."""
    last = {*_names(ProcessesConfig), *_names(ProcessOptions)}
    titles = {name: "Computation" if name in last else "Options" for name in _names(options)}
    titles |= {name: "Run" for name in titles if name in ("workdir", "compare")}
    for title in ("Run", "Options", "Computation"):
        names = [name for name, its in titles.items() if its == title]
        if names:
            add_flags(parser, title, [options], names)


def _add_train_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every room, a group each; a model's own flags under the model's name."""
    common = _names(ModelConfig)
    default = TrainConfig().model.name
    group = parser.add_argument_group("Preset", "Flags that are given win over those of a preset.")
    group.add_argument("--preset", choices=tuple(PRESETS), help=_preset_help())
    group = parser.add_argument_group("Model")
    text = f"The kind of autoencoder (default: {default})"
    group.add_argument("--model", choices=tuple(MODELS), help=text)
    add_flags(parser, "Every model", [ModelConfig], common)
    seen = set(common)
    recipes = {name: cls.recipe for name, cls in MODELS.items()}
    for name, cls in MODELS.items():
        own = [each for each in _names(cls) if each not in seen]
        seen |= set(own)
        add_flags(parser, f"{_first_line(cls)} (--model {name})", [cls], own)
    for section, cls in sections(ModelConfig).items():
        if section != "model":
            add_flags(parser, _first_line(cls), [cls], _names(cls), recipes)
    own = [*own_fields(), *(name for name in _names(train.Options) if name != "config")]
    add_flags(parser, "Run", [TrainConfig, train.Options], own)


def _preset_help() -> str:
    """What every preset is for, and what it sets."""
    texts = [
        f"{name}: {preset.purpose} ({command_line(preset.flags)})"
        for name, preset in PRESETS.items()
    ]
    return "; ".join(texts).replace("%", "%%")


def _first_line(cls: type[Any]) -> str:
    return (cls.__doc__ or cls.__name__).splitlines()[0].rstrip(".")


def _names(cls: type[Any]) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)]
