"""The command line, generated from the dataclasses of `config.py`; nothing else.

Whatever is heavy is imported after parsing, so that --help and a wrong flag answer at once.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import simple_parsing

from flaxae.config import EmbedConfig, EvaluateConfig, ReconstructConfig, TrainConfig
from flaxae.errors import InputError, RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status: 2 for bad input, 1 where a run cannot go on."""
    try:
        options = _parser().parse_args(arguments)
        return _command(options.command)(options.config)
    except InputError as error:
        print(f"flaxae: error: {error}", file=sys.stderr)
        return 2
    except (RunError, OSError) as error:
        print(f"flaxae: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _command(name: str) -> Callable[[Any], int]:
    if name == "train":
        from flaxae.commands.train import train

        return train
    if name == "embed":
        from flaxae.commands.embed import embed

        return embed
    from flaxae.commands import trained

    return {"evaluate": trained.evaluate_command, "reconstruct": trained.reconstruct_command}[name]


class _Parser(simple_parsing.ArgumentParser):
    """Says what is wrong in one line, without the usage that argparse puts before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["add_option_string_dash_variants"] = simple_parsing.DashVariant.DASH
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def format_help(self) -> str:
        text = super().format_help()
        # "ModelConfig ['config.model']:" over its docstring: the docstring says it to people.
        text = re.sub(r"^\w+ \['config.*'\]:\n  (.+)\.\n", r"\1:\n", text, flags=re.MULTILINE)
        text = re.sub(r"\s+\(default:\s+None\)", "", text)  # their help says what none means
        tuples = r"\(default:\s+\((.+?),?\)\)"  # to be typed without commas
        return re.sub(tuples, lambda found: f"(default: {found[1].replace(',', '')})", text)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(description="Autoencoders for images with JAX and Flax.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    configs = {
        "train": TrainConfig,
        "evaluate": EvaluateConfig,
        "reconstruct": ReconstructConfig,
        "embed": EmbedConfig,
    }
    for name, config in configs.items():
        command = commands.add_parser(name, help=config.__doc__, description=config.__doc__)
        command.add_arguments(config, dest="config")
    return parser
