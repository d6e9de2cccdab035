"""Disks that are full, read-only, forbidden or gone, little memory, two writers, closed outputs.

Real processes. A full or read-only disk is a small tmpfs, which needs root; elsewhere these cases
are skipped and named. `__main__` gives the campaign a mount namespace of its own, so that nothing
stays mounted. Files that must not grow (RLIMIT_FSIZE) stand for a quota everywhere.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.case import Case
from tests.faults.judge import (
    check_clean,
    check_embedded,
    check_end,
    check_evaluated,
    check_numbers,
    check_refusal,
    check_success,
    check_success_or_refusal,
)
from tests.faults.stage import EMBED, EVALUATE, LONG, SECONDS, WHOLE, Lost, Skipped, Stage, remove

Act = Callable[[Stage], None]


def cases() -> Iterator[Case]:
    """All of them; a table for each idea."""
    for name, act in {**_full(), **_limited(), **_denied(), **_gone(), **_memory()}.items():
        yield Case(f"resources/{name}", act)
    for name, act in {**_writers(), **_outputs()}.items():
        yield Case(f"resources/{name}", act)


@contextlib.contextmanager
def _tmpfs(path: Path, size: str) -> Iterator[None]:
    """A small disk at `path`, with what the folder holds."""
    before = path.with_name(path.name + "-before")
    if path.exists():
        path.rename(before)
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], stderr=subprocess.DEVNULL
    )
    if done.returncode:
        raise Skipped("needs the right to mount a tmpfs")
    try:
        if before.exists():
            subprocess.run(["mount", "-o", "remount,size=50m", path], check=True)
            shutil.copytree(before, path, symlinks=True, dirs_exist_ok=True)
            remove(before)
            subprocess.run(["mount", "-o", f"remount,size={size}", path], stderr=subprocess.DEVNULL)
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def _fill(path: Path) -> None:
    with contextlib.suppress(OSError), open(path / "filler", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def _full() -> dict[str, Act]:
    """Training into a disk that fills up at some time; then it gets room and goes on."""

    def train(place: str, size: str) -> Act:
        def act(stage: Stage) -> None:
            remove(stage.path("run"))
            remove(stage.path(place))
            with _tmpfs(stage.path(place), size):
                ended = stage.start(*WHOLE).wait(60)
                fine = check_success_or_refusal(ended)
                if fine:
                    check_numbers(stage, ended)
                subprocess.run(["mount", "-o", "remount,size=50m", stage.path(place)], check=True)
                ended = stage.run(*WHOLE)
                check_success(ended)
                check_numbers(stage, ended)
                check_clean(stage, "run", "store")

        return act

    def filled(words: list[str], place: str) -> Act:
        def act(stage: Stage) -> None:
            stage.path(place).mkdir(exist_ok=True)
            with _tmpfs(stage.path(place), "2m"):
                _fill(stage.path(place))
                ended = stage.start(*words).wait(60)
                check_success_or_refusal(ended)
                remove(stage.path(place) / "filler")
                check_clean(stage, "run", "store")
                check_success(stage.run(*words))

        return act

    sizes = ("4k", "32k", "100k", "200k", "400k")
    acts = {f"full/train/run/{size}": train("run", size) for size in sizes}
    acts |= {f"full/train/{place}/8k": train(place, "8k") for place in ("store", "tmp", "home")}
    for name, words in (("evaluate", EVALUATE), ("embed", EMBED)):
        for place in ("run", "out", "tmp", "store"):
            acts[f"full/{name}/{place}"] = filled(words, place)

    def prepare(stage: Stage) -> None:
        stage.path("prepared").mkdir()
        with _tmpfs(stage.path("prepared"), "900k"):
            ended = stage.prepare().wait(60)
            if ended.status == 0:
                raise Lost("the store fitted: the case has no effect")
            check_end_of_library(ended.stderr, ended.status)
            subprocess.run(["mount", "-o", "remount,size=50m", stage.path("prepared")], check=True)
            check_success(stage.prepare().wait(SECONDS))
            if stage.tree("prepared") != stage.expected["prepared"]:
                raise Lost("the store has other bytes than undisturbed")

    return acts | {"full/prepare": prepare}


def check_end_of_library(stderr: str, status: int) -> None:
    """From Python, an error of flaxae's own is raised, which has one line."""
    last = stderr.strip().splitlines()[-1] if stderr.strip() else ""
    if status != 1 or not last.startswith(("flaxae.errors.RunError", "flaxae.errors.InputError")):
        raise Lost(f"exit {status}, and not by an error of flaxae: {last[:300]!r}")


def _limited() -> dict[str, Act]:
    """No file may grow beyond a size, as under a quota."""

    def act_for(size: int) -> Act:
        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        def act(stage: Stage) -> None:
            remove(stage.path("run"))
            ended = stage.start(*WHOLE, prepare=limit).wait(60)
            if check_success_or_refusal(ended):
                check_numbers(stage, ended)
            ended = stage.run(*WHOLE)
            check_success(ended)
            check_numbers(stage, ended)
            check_clean(stage, "run", "store")

        return act

    return {f"file-size/train/{size}": act_for(size) for size in (100, 1500, 6000, 20_000)}


def _denied() -> dict[str, Act]:
    """Folders and files that may not be read, or not be written."""
    places = (
        "run",
        "run/checkpoints",
        "run/config.json",
        "run/metrics.jsonl",
        "store",
        "photos",
        "tmp",
        "home",
        "run/reconstructions",
    )
    acts: dict[str, Act] = {}
    for command, words in (("train", WHOLE), ("evaluate", EVALUATE), ("embed", EMBED)):
        for place in places:
            for mode in ("unreadable", "unwritable"):
                acts[f"{mode}/{place}/{command}"] = _with_mode(words, command, place, mode)

    def embed_elsewhere(stage: Stage) -> None:
        """A read-only disk with the run; the export is written elsewhere."""
        with _tmpfs(stage.path("run"), "50m"):
            subprocess.run(["mount", "-o", "remount,ro", stage.path("run")], check=True)
            ended = stage.start(*EMBED).wait(SECONDS)
            check_success(ended)
            check_embedded(stage, ended)

    def evaluate(stage: Stage) -> None:
        with _tmpfs(stage.path("run"), "50m"):
            subprocess.run(["mount", "-o", "remount,ro", stage.path("run")], check=True)
            ended = stage.start(*EVALUATE).wait(SECONDS)
            if check_success_or_refusal(ended):
                check_evaluated(stage, ended)

    def train(stage: Stage) -> None:
        with _tmpfs(stage.path("run"), "50m"):
            subprocess.run(["mount", "-o", "remount,ro", stage.path("run")], check=True)
            check_refusal(stage.start(*WHOLE).wait(60))

    readonly = {"embed": embed_elsewhere, "evaluate": evaluate, "train": train}
    return acts | {f"read-only/{name}": act for name, act in readonly.items()}


def _with_mode(words: list[str], command: str, place: str, mode: str) -> Act:
    def act(stage: Stage) -> None:
        path = stage.path(place)
        before = path.stat().st_mode
        path.chmod(0 if mode == "unreadable" else 0o555 if path.is_dir() else 0o444)
        ended = stage.start(*words).wait(60)
        path.chmod(before)
        if check_success_or_refusal(ended):
            check = {"train": check_numbers, "evaluate": check_evaluated, "embed": check_embedded}
            check[command](stage, ended)
        check_clean(stage, "run", "store")
        if command == "train":
            ended = stage.run(*words)
            check_success(ended)
            check_numbers(stage, ended)

    return act


def _gone() -> dict[str, Act]:
    """What is removed while a run trains, or before a command."""

    def meanwhile(place: str) -> Act:
        def act(stage: Stage) -> None:
            stage.learn_long()
            running = stage.start(*LONG)
            metrics, until = stage.path("run/metrics.jsonl"), time.monotonic() + SECONDS
            while not (metrics.exists() and metrics.stat().st_size) and not running.ended():
                time.sleep(0.005)
                if time.monotonic() > until:
                    break
            with contextlib.suppress(OSError):
                stage.path(place).rename(stage.path(place).with_name("moved-away"))
            ended = running.wait(60)
            if check_success_or_refusal(ended):
                check_numbers(stage, ended, of="long")

        return act

    def before(words: list[str], place: str) -> Act:
        def act(stage: Stage) -> None:
            remove(stage.path(place))
            ended = stage.start(*words).wait(60)
            if place.startswith("run"):  # beginning anew would hide that something is lost
                check_refusal(ended)
            elif check_success_or_refusal(ended) and words is WHOLE:
                check_numbers(stage, ended)

        return act

    during = ("run", "run/checkpoints", "run/reconstructions", "store", "photos", "tmp")
    acts = {f"vanished/{place}/while-training": meanwhile(place) for place in during}
    for name, words in (("train", WHOLE), ("evaluate", EVALUATE), ("embed", EMBED)):
        for place in ("run", "run/checkpoints", "photos", "store", "tmp", "home"):
            if not (name == "train" and place == "run"):
                acts[f"vanished/{place}/before-{name}"] = before(words, place)
    return acts


def _memory() -> dict[str, Act]:
    """A control group with a limit on memory: large models are refused, small ones go on later."""

    @contextlib.contextmanager
    def group(size: int) -> Iterator[Callable[[], None]]:
        old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        top, file = (old, "memory.limit_in_bytes") if old.is_dir() else (new, "memory.max")
        folder = top / f"flaxae-faults-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir()
            (folder / file).write_text(str(size))
        except OSError as error:
            raise Skipped(f"needs the right to make a control group ({error.strerror})") from error
        try:
            yield lambda: (folder / "cgroup.procs").write_text(str(os.getpid())) and None
        finally:
            time.sleep(0.2)
            folder.rmdir()

    def large(*flags: str) -> Act:
        def act(stage: Stage) -> None:
            remove(stage.path("run"))
            words = ["train", "--dataset", "photos/", "--workdir", "run", "--epochs", "1", *flags]
            with group(1_500_000_000) as enter:
                check_refusal(stage.start(*words, prepare=enter).wait(60))

        return act

    def tight(size: int) -> Act:
        def act(stage: Stage) -> None:
            remove(stage.path("run"))
            with group(size * 1_000_000) as enter:
                ended = stage.start(*WHOLE, prepare=enter).wait(60)
            if ended.status == 128 + signal.SIGKILL and not ended.hung:  # by the kernel
                pass
            elif check_success_or_refusal(ended):
                check_numbers(stage, ended)
            ended = stage.run(*WHOLE)
            check_success(ended)
            check_numbers(stage, ended)

        return act

    acts = {f"memory/{size}-MB": tight(size) for size in (100, 200, 300)}
    acts["memory/large-layers"] = large("--model", "fully_connected", "--hidden-units", "9000000")
    acts["memory/large-filters"] = large("--filters", "20000", "20000")
    acts["memory/large-batch"] = large("--filters", "2000", "--batch-size", "1000000")
    return acts


def _writers() -> dict[str, Act]:
    """Two processes at once."""

    def train(stage: Stage) -> None:
        remove(stage.path("run"))
        both = [stage.start(*WHOLE), stage.start(*WHOLE)]
        ended = sorted((each.wait(SECONDS) for each in both), key=lambda each: each.status)
        check_success(ended[0])
        if check_success_or_refusal(ended[1]):
            check_success(ended[1])
        elif not any(word.strip(",;:()").isdecimal() for word in ended[1].stderr.split()):
            raise Lost(f"the process id of the other writer is not said: {ended[1].stderr!r}")
        check_numbers(stage, ended[0])
        check_clean(stage, "run", "store")

    def embed(stage: Stage) -> None:
        both = [stage.start(*EMBED), stage.start(*EMBED)]
        ended = sorted((each.wait(SECONDS) for each in both), key=lambda each: each.status)
        check_success(ended[0])
        check_success_or_refusal(ended[1])
        check_embedded(stage, ended[0])
        check_clean(stage, "run")

    def prepare(stage: Stage) -> None:
        both = [stage.prepare(), stage.prepare()]
        for each in both:
            check_success(each.wait(SECONDS))
        if stage.tree("prepared") != stage.expected["prepared"]:
            raise Lost("the store has other bytes than undisturbed")

    acts = {"train": train, "embed": embed, "prepare": prepare}
    return {f"two-writers/{name}": act for name, act in acts.items()}


def _outputs() -> dict[str, Act]:
    """stdout that is closed, a pipe that nobody reads, and a full device."""
    commands = {
        "train": WHOLE,
        "evaluate": EVALUATE,
        "embed": EMBED,
        "list": ["data", "--list"],
        "help": ["train", "--help"],
    }

    def act_for(name: str, words: list[str], kind: str) -> Act:
        def act(stage: Stage) -> None:
            if kind == "full-device":
                stdout = os.open("/dev/full", os.O_WRONLY)
            elif kind == "broken-pipe":
                reading, stdout = os.pipe()
                os.close(reading)
            else:
                stdout = -1
            running = stage.start(*words, stdout=stdout)
            if stdout >= 0:
                os.close(stdout)
            ended = running.wait(SECONDS)
            check_end(ended)
            if ended.status not in (0, 1, 128 + signal.SIGPIPE):
                raise Lost(f"exit {ended.status}; stderr: {ended.stderr[-300:]!r}")
            if name == "train":
                ended = stage.run(*words)
                check_success(ended)
                check_numbers(stage, ended)
            check_clean(stage, "run", "store")

        return act

    return {
        f"stdout/{kind}/{name}": act_for(name, words, kind)
        for kind in ("closed", "broken-pipe", "full-device")
        for name, words in commands.items()
    }
