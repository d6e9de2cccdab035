"""The command line of a benchmark: the fields of its settings are its flags."""

import argparse
import dataclasses
import pkgutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flaxae.errors import InputError, RunError

_RESULTS = Path(__file__).resolve().parents[1] / "results"


def flag(default: Any, text: str, **options: Any) -> Any:
    """A field of a settings class; `options` go to argparse's `add_argument`."""
    return dataclasses.field(default=default, metadata={"help": text, **options})


def several(choices: Sequence[str], text: str, default: Sequence[str] | None = None) -> Any:
    """A field for some of `choices`, by default all."""
    return flag(tuple(default or choices), text, nargs="+", choices=choices)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 1")
    return int(text)


def _folder(text: str) -> Path:
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file; give a folder")
    return Path(text)


COUNT: dict[str, Any] = {"type": _count, "metavar": "N"}  # options of a flag: a number from 1
COUNTS: dict[str, Any] = {"nargs": "+", **COUNT}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of every benchmark. A subclass adds its own; its docstring is the description."""

    question: ClassVar[str]  # the name of the benchmark's package
    measure: ClassVar[str]  # "module:function" from the settings to a `report.Finding`
    smoke_values: ClassVar[dict[str, Any]]  # what --smoke sets

    output_dir: Path = flag(_RESULTS, "for the results", type=_folder, metavar="FOLDER")  # noqa: RUF009
    smoke: bool = flag(False, "checks in under a minute that it works", action="store_true")


def parse(kind: type[Settings], arguments: Sequence[str] | None) -> Settings:
    """The settings of class `kind` that the flags ask for; --smoke overrides them."""
    parser = argparse.ArgumentParser(
        f"benchmarks.{kind.question}",
        usage=argparse.SUPPRESS,  # so that an error is one line
        description=kind.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for field in dataclasses.fields(kind):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, default=field.default, **field.metadata)
    values = vars(parser.parse_args(arguments))
    for field in dataclasses.fields(kind):
        if isinstance(each := values[field.name], list):
            # A choice given twice would be measured twice.
            values[field.name] = tuple(dict.fromkeys(each) if "choices" in field.metadata else each)
    try:
        return kind(**values | (kind.smoke_values if values["smoke"] else {}))
    except InputError as error:
        parser.error(str(error))


def run(kind: type[Settings], arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, 2 for wrong input, 1 if the benchmark fails, 130 after Ctrl-C."""
    settings = parse(kind, arguments)
    try:
        from benchmarks.common.report import publish  # imports JAX, which --help does not need

        settings.output_dir.mkdir(parents=True, exist_ok=True)
        finding = pkgutil.resolve_name(kind.measure)(settings)
        publish(kind.question, vars(settings), finding)
        if finding.failure:
            raise RunError(finding.failure)
    except (InputError, RunError, OSError) as error:
        print(f"benchmarks.{kind.question}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        return 130
    return 0
