"""Damages every file of a run, of the store and of datasets; then trains, evaluates and embeds.

The names of files in a checkpoint differ from run to run, so that the cases number them. Commands
are forked (see `process.py`). A file of a run that only people look at must not stop it.
"""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.case import Case
from tests.faults.judge import (
    check_clean,
    check_embedded,
    check_evaluated,
    check_numbers,
    check_refusal,
    check_success,
    check_success_or_refusal,
)
from tests.faults.process import Ended
from tests.faults.stage import DIGITS, EMBED, EVALUATE, WHOLE, Stage

_FOR_PEOPLE = re.compile(r"run/(reconstructions/|.*tfevents|\.lock)")


def cases(stage: Stage) -> Iterator[Case]:
    """All cases, by the files of a stage as it was built."""
    for kind in ("flipped", "truncated", "deleted"):
        for command in _COMMANDS["run"]:
            title = f"damage/run/every-checkpoint/{kind}/{command}"
            yield Case(title, _every_checkpoint(kind, command))
    for top, commands in _COMMANDS.items():
        for name, path in _files(stage, top):
            for kind in _KINDS:
                for command in commands:
                    yield Case(f"damage/{name}/{kind}/{command}", _act(path, kind, command))


def _every_checkpoint(kind: str, command: str) -> Callable[[Stage], None]:
    """The arrays of all checkpoints are damaged: nothing can be taken in their place."""

    def act(stage: Stage) -> None:
        for path in stage.path("run/checkpoints").glob("*/state/**/d/*"):
            _KINDS[kind](path)
        check_refusal(stage.run(*_CHECKS[command][0]))
        check_clean(stage, "run", "store")

    return act


def _files(stage: Stage, top: str) -> Iterator[tuple[str, str]]:
    """The stable name and the path of each file; three of the images stand for all."""
    paths = [p for p in sorted(stage.path(top).rglob("*")) if p.is_file()]
    paths = paths[:: max(1, len(paths) // 3)][:3] if top == "photos" else paths
    places: dict[str, int] = {}
    for path in paths:
        name = str(path.relative_to(stage.folder))
        stable = re.sub(r"[0-9a-f]{12,32}|tfevents.*", "_", name)
        places[stable] = places.get(stable, -1) + 1
        yield (f"{stable}-{places[stable]}" if places[stable] else stable), name


def _act(name: str, kind: str, command: str) -> Callable[[Stage], None]:
    def act(stage: Stage) -> None:
        _KINDS[kind](_found(stage, name))
        words, check = _CHECKS[command]
        ended = stage.run(*words)
        if _FOR_PEOPLE.match(name):
            check_success(ended)
        if check_success_or_refusal(ended):
            check(stage, ended)
        check_clean(stage, "run", "digits", "store", "tfds")

    return act


def _found(stage: Stage, name: str) -> Path:
    """The file of this name; on another stage, the one at its place among its like."""
    path = stage.path(name)
    if path.exists():
        return path
    there = re.compile("[^/]+".join(map(re.escape, re.split(r"[0-9a-f]{12,32}|tfevents.*", name))))
    everything = (str(p.relative_to(stage.folder)) for p in sorted(stage.folder.rglob("*")))
    return stage.path(next(each for each in everything if there.match(each)))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 0x55
    path.write_bytes(bytes(data))


def _replace(path: Path) -> None:
    """Puts the nearest other file of the same kind in its place."""
    for parent in itertools.takewhile(lambda p: not p.name.startswith("stage-"), path.parents):
        files = (p for p in sorted(parent.rglob("*")) if p.is_file() and p.suffix == path.suffix)
        like = [p for p in files if path.name == p.name or path.parent.name == p.parent.name]
        others = [p for p in like if p.read_bytes() != path.read_bytes()]
        if others:
            shutil.copyfile(next((p for p in others if p.name == path.name), others[0]), path)
            return
    path.write_bytes(path.read_bytes()[::-1])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


_KINDS: dict[str, Callable[[Path], None]] = {
    "flipped": _flip,
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": Path.unlink,
    "replaced": _replace,
    "a-folder": _folder,
    "a-loop": _loop,
}


def _check_digits(stage: Stage, ended: Ended) -> None:
    check_numbers(stage, ended, "digits")


_CHECKS: dict[str, tuple[list[str], Callable[[Stage, Ended], None]]] = {
    "train": (WHOLE, check_numbers),
    "evaluate": (EVALUATE, check_evaluated),
    "embed": (EMBED, check_embedded),
    "prepare": (DIGITS, _check_digits),
}
_READERS = ("train", "evaluate", "embed")
_COMMANDS = {"run": _READERS, "store": _READERS, "photos": _READERS, "tfds": ("prepare",)}
