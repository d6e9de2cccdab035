"""kill -9 at random moments of train, embed, evaluate, and of preparing a store or a dataset.

The moment is a fraction of the time that an undisturbed process takes, from the case's name and the
seed. What is killed is a real process; the same command is then run again, and everything that it
leaves is compared with an undisturbed one.
"""

import random
import signal
import time
from collections.abc import Iterator

from tests.faults.case import Case
from tests.faults.judge import (
    check_clean,
    check_embedded,
    check_evaluated,
    check_numbers,
    check_success,
)
from tests.faults.process import Running
from tests.faults.stage import DIGITS, EMBED, EVALUATE, SECONDS, WHOLE, Lost, Stage, remove


def cases(count: int, seed: int) -> Iterator[Case]:
    """`count` kills, in turn of each command."""
    acts = {
        "train": _train,
        "prepare": _prepare,
        "dataset": _dataset,
        "embed": _embed,
        "evaluate": _evaluate,
    }
    for number in range(count):
        name = [*acts][number % len(acts)]
        title = f"kills/{name}/{number:03}"
        moment = random.Random(f"{seed} {title}").uniform(0.02, 1.0)
        yield Case(title, lambda stage, a=acts[name], m=moment: a(stage, m), f"at {moment:.3f}")


def _killed(stage: Stage, running: Running, name: str, moment: float) -> None:
    time.sleep(moment * stage.seconds[name])
    running.signal(signal.SIGKILL)
    running.wait(SECONDS)


def _train(stage: Stage, moment: float) -> None:
    remove(stage.path("run"))
    _killed(stage, stage.start(*WHOLE), "train", moment)
    ended = stage.run(*WHOLE)
    check_success(ended)
    check_numbers(stage, ended)
    check_clean(stage, "run", "store")
    if stage.listing("run") != stage.expected["files"]:
        raise Lost(f"other files than undisturbed: {stage.listing('run')}")


def _embed(stage: Stage, moment: float) -> None:
    _killed(stage, stage.start(*EMBED), "embed", moment)
    files, whole = stage.tree("out"), stage.expected[f"embed {stage.expected['step']}"]
    if files and files != whole:
        raise Lost(f"half an export after the kill: {sorted(files)}")
    ended = stage.run(*EMBED)
    check_success(ended)
    check_embedded(stage, ended)
    check_clean(stage, "run", "store")
    left = [p.name for p in stage.folder.iterdir() if p.name.startswith(("out", ".out"))]
    if left != ["out"]:
        raise Lost(f"left behind: {left}")


def _evaluate(stage: Stage, moment: float) -> None:
    _killed(stage, stage.start(*EVALUATE), "evaluate", moment)
    ended = stage.run(*EVALUATE)
    check_success(ended)
    check_evaluated(stage, ended)
    check_clean(stage, "run", "store")


def _prepare(stage: Stage, moment: float) -> None:
    _killed(stage, stage.prepare(), "prepare", moment)
    ended = stage.prepare().wait(SECONDS)
    check_success(ended)
    if stage.tree("prepared") != stage.expected["prepared"]:
        raise Lost("the store has other bytes than undisturbed")
    check_clean(stage, "prepared")


def _dataset(stage: Stage, moment: float) -> None:
    remove(stage.path("tfds"))
    _killed(stage, stage.start(*DIGITS), "dataset", moment)
    ended = stage.run(*DIGITS)
    check_success(ended)
    check_numbers(stage, ended, "digits")
    check_clean(stage, "digits", "tfds")
    if not list(stage.path("tfds").rglob("flaxae_sha256.json")):
        raise Lost("the dataset has no seal")
