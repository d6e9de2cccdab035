"""Bad input for every flag of every command, made from what argparse and the dataclasses say.

Commands are forked (see `process.py`). So a null byte, which no shell can pass, is tried as well:
it stands for a call of `main(arguments)` from Python. A value that the program may take is no fault
where it takes it and ends with 0, or trains on until it is stopped.
"""

import argparse
import os
import stat
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from flaxae.commands import main
from flaxae.config import TrainConfig
from flaxae.models import MODELS
from tests.faults.case import Case
from tests.faults.judge import check_clean, check_refusal, check_success_or_refusal
from tests.faults.stage import SMALL, Lost, Stage

_START = {
    "evaluate": ["--workdir", "run"],
    "reconstruct": ["--workdir", "run"],
    "embed": ["--workdir", "run", "--limit", "3"],
}
# (name, words, whether it has to be refused)
Bad = tuple[str, list[str], bool]
_KEPT = ("run/config.json", "photos/ant/00.png")  # which no flag may replace
_LONG = "x" * 5000
_WHOLE: list[Bad] = [
    ("word", ["x"], True),
    ("empty", [""], True),
    ("fraction", ["1.5"], True),
    ("negative", ["-1"], False),
    ("zero", ["0"], False),
    ("nan", ["nan"], True),
    ("inf", ["inf"], True),
    ("huge", ["9" * 19], False),
    ("5000-digits", ["9" * 5000], True),
    ("null-byte", ["1\0"], True),
    ("none", [], True),
]
_REAL: list[Bad] = [
    ("word", ["x"], True),
    ("empty", [""], True),
    ("comma", ["1,5"], True),
    ("negative", ["-1"], False),
    ("nan", ["nan"], True),
    ("inf", ["inf"], False),
    ("minus-inf", ["-inf"], True),
    ("huge", ["1e300"], False),
    ("tiny", ["1e-320"], False),
    ("null-byte", ["1\0"], True),
    ("none", [], True),
]
_TEXT: list[Bad] = [
    ("empty", [""], True),
    ("missing", ["no/such.thing"], False),
    ("missing-array", ["no-such.npy"], False),
    ("folder", ["photos"], False),
    ("file", ["run/config.json"], False),
    ("image", ["photos/ant/00.png"], False),
    ("loop", ["loop"], False),
    ("no-user", ["~nosuchuser/x"], False),
    ("unicode", ["ü🦊\u202e\u0301"], False),
    ("markup", ["[/bold]%s{x}\\"], False),
    ("brackets", ["a[b]c*?"], False),
    ("newline", ["a\nb"], False),
    ("long", [_LONG], False),
    ("deep", ["d/" * 3000], False),
    ("pipe", ["pipe"], True),
    ("dash", ["-"], False),
    ("null-byte", ["a\0b"], True),
    ("surrogate", ["a\udcff"], False),
    ("none", [], True),
]


def cases() -> Iterator[Case]:
    """Every flag of every command with every bad value of its type, and near-miss names."""
    for command, parser in sorted(_parsers().items()):
        for action in parser._actions:
            if action.option_strings and not isinstance(action, argparse._HelpAction):
                flag = action.option_strings[0]
                for name, words, refused in _values(action):
                    given = [command, *_start(command, flag), flag, *words]
                    yield _case(f"{command}/{flag}/{name}", given, refused)
                for name, near in (("near-flag", flag[:-1]), ("upper-flag", flag.upper())):
                    if near != flag:
                        given = [command, *_start(command, flag), near, "1"]
                        yield _case(f"{command}/{flag}/{name}", given, True)
        yield _case(f"{command}/near-miss", [command[:-1]], True)
        yield _case(f"{command}/extra-word", [command, *_start(command), "extra"], True)
    for name, words in {"nothing": [], "empty": [""], "null": ["\0"], "dashes": ["--"]}.items():
        yield _case(f"command/{name}", words, True)


def _start(command: str, flag: str = "") -> list[str]:
    """The flags before the one that is tried, so that the command would be fast."""
    if flag == "--store-dir" and command == "data":
        return ["--list"]
    if command != "train":
        return _START.get(command, [])
    name = flag.removeprefix("--").replace("-", "_")
    owners = [model for model, cls in MODELS.items() if name in {f.name for f in fields(cls)}]
    default = TrainConfig().model.name
    other = bool(owners) and default not in owners
    model = ["--model", owners[0], "--batch-size", "16", "--no-report"] if other else SMALL
    return ["--dataset", "photos/", "--workdir", "new", *model, "--epochs", "1"]


def _case(name: str, words: list[str], refused: bool) -> Case:
    return Case(f"bad-input/{name}", lambda stage: _act(stage, words, refused))


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    actions = main._parsers()[0]._actions
    found = next(each for each in actions if isinstance(each, argparse._SubParsersAction))
    return dict(found.choices)


def _values(action: argparse.Action) -> Iterator[Bad]:
    """Bad values of an action's type."""
    several = action.nargs in ("*", "+")
    if action.nargs == 0:
        yield "a-value", ["1"], True
    elif action.choices is not None:
        word = str(next(iter(action.choices)))
        for name, value in {
            "near-miss": word + "x",
            "upper-case": word.upper() if word.upper() != word else "0",
            "empty": "",
            "long": _LONG,
            "null-byte": word + "\0",
        }.items():
            yield name, [value], True
        if action.nargs is None:
            yield "none", [], True
    else:
        kind = action.type
        numbers = _WHOLE if kind is int or (several and _is_whole(kind)) else None
        values = numbers or (_REAL if kind is float else _TEXT)
        optional = action.nargs in ("*", "?")
        for name, words, refused in values:
            yield name, words, refused and bool(words or not optional)
    if several:
        yield "1000-values", ["1"] * 1000, False
        yield "mixed", ["1", "x"], False


def _is_whole(kind: Any) -> bool:
    return kind is not None and getattr(kind, "__name__", "") == "int"


def _act(stage: Stage, words: list[str], refused: bool) -> None:
    stage.path("loop").symlink_to("loop")
    os.mkfifo(stage.path("pipe"))
    kept = {name: stage.path(name).read_bytes() for name in _KEPT}
    before = _snapshot(stage)
    ended = stage.run(*words, limit=20)
    metrics = stage.path("new/metrics.jsonl")
    if not stat.S_ISFIFO(stage.path("pipe").lstat().st_mode):
        raise Lost(f"exit {ended.status}, and a pipe was replaced")
    for name, content in kept.items():
        if not stage.path(name).is_file() or stage.path(name).read_bytes() != content:
            raise Lost(f"exit {ended.status}, and {name} was replaced")
    if ended.hung and metrics.is_file() and metrics.stat().st_size:
        return  # a long training that was asked for
    if ended.status == 0 and refused and not ended.hung:
        raise Lost(f"was taken: exit 0; stdout: {ended.stdout[-200:]!r}")
    if ended.status in (1, 2) or refused:
        check_refusal(ended)
        changed = [name for name in _snapshot(stage) ^ before if not name[0].startswith("store")]
        if changed and ended.status == 2:
            raise Lost(f"exit 2, and yet wrote {sorted(changed)[:3]}")
    else:
        check_success_or_refusal(ended)
    check_clean(stage, "run", "store", "new")


def _snapshot(stage: Stage) -> set[tuple[str, int]]:
    """All files and folders, with the size of files."""
    return {
        (str(p.relative_to(stage.folder)), p.lstat().st_size if not p.is_dir() else 0)
        for p in stage.folder.rglob("*")
    }
