"""Runs the campaign and prints one line of JSON; see `python -m tests.faults --help`."""

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import platform
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults import bad_input, damage, kills, resources, signals
from tests.faults.case import Case, spread
from tests.faults.process import ROOT
from tests.faults.stage import Lost, Skipped, Stage, make_png

PACKAGES = ("jax", "flax", "orbax-checkpoint", "numpy", "tensorflow-datasets")
QUICK = {"kills": 5, "damage": 6, "resources": 4, "signals": 2, "bad-input": 12}
ALL = 1_000_000


class Result(NamedTuple):
    """What came of a case: None where it survived."""

    case: Case
    lost: str | None
    skipped: str | None
    commands: list[str]
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the chosen cases; 1 if one of them was lost."""
    given = _parser().parse_args(arguments)
    _own_mounts()
    base = Path(tempfile.mkdtemp(prefix="flaxae-faults-"))
    base.chmod(0o755)
    began, load = time.monotonic(), os.getloadavg()[0]
    try:
        results = _campaign(given, base)
    finally:
        if given.keep:
            print(f"kept: {base}", file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)
    record = (
        summary(results, given.seed) | _machine(load) | {"seconds": round(time.monotonic() - began)}
    )
    print(json.dumps(record))
    return 1 if record["lost"] else 0


def summary(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """The record of a campaign."""
    tried = [each for each in results if each.skipped is None]
    lost = [each for each in tried if each.lost is not None]
    kinds = Counter(each.case.name.split("/")[0] for each in tried)
    losses = Counter(each.case.name.split("/")[0] for each in lost)
    return {
        "tried": len(tried),
        "survived": len(tried) - len(lost),
        "lost": len(lost),
        "skipped": len(results) - len(tried),
        "seed": seed,
        "kinds": {k: {"tried": n, "lost": losses[k]} for k, n in sorted(kinds.items())},
        "lost_cases": [
            {"name": each.case.name, "commands": each.commands, "came": each.lost}
            | ({"detail": each.case.detail} if each.case.detail else {})
            for each in sorted(lost, key=lambda each: each.case.name)
        ],
        "skipped_cases": {each.case.name: each.skipped for each in results if each.skipped},
    }


def run_case(case: Case, stage: Stage) -> Result:
    """One case on a stage that is as it was built."""
    stage.restore()
    began, lost, skipped = time.monotonic(), None, None
    try:
        case.act(stage)
    except Lost as error:
        lost = str(error)
    except Skipped as error:
        skipped = str(error)
    except Exception as error:  # of the campaign's own: the case has not been shown to survive
        lost = f"the campaign failed: {type(error).__name__}: {error}"
    if lost is not None:
        lost = _without_paths(lost, stage)
    return Result(case, lost, skipped, [*stage.commands], time.monotonic() - began)


def _without_paths(text: str, stage: Stage) -> str:
    """The text without the folders of this machine."""
    places = {"STAGE": stage.folder, "BASE": stage.folder.parent, "ENVIRONMENT": sys.prefix}
    for name, place in {**places, "PYTHON": sys.base_prefix, "CHECKOUT": ROOT}.items():
        text = text.replace(str(place), name)
    return text


def _campaign(given: argparse.Namespace, base: Path) -> list[Result]:
    """Builds a stage for each job; all of them take cases from one queue."""
    shared = base / "shared"
    make_png(shared / "png", 3000)
    first = Stage(base / "stage-0", shared)
    _say("building the stages")
    first.build()
    cases = _chosen(given, first)
    random.Random(given.seed).shuffle(cases)  # an interrupted campaign has tried some of each kind
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    results: list[Result] = []
    failures: list[BaseException] = []

    def work(make: Callable[[], Stage]) -> None:
        try:
            stage = make()
            while True:
                result = run_case(waiting.get_nowait(), stage)
                results.append(result)
                word = "lost" if result.lost else "skipped" if result.skipped else "survived"
                what = f": {result.lost}" if result.lost else ""
                count = f"[{len(results)}/{len(cases)}]"
                _say(f"{count} {result.seconds:5.1f} s  {word:8} {result.case.name}{what}")
        except queue.Empty:
            stage.close()
        except BaseException as error:
            failures.append(error)

    def another(number: int) -> Stage:
        stage = Stage(base / f"stage-{number}", shared)
        stage.build()
        return stage

    makers: list[Callable[[], Stage]] = [lambda: first]
    makers += [lambda n=n: another(n) for n in range(1, min(given.jobs, len(cases)))]
    threads = [threading.Thread(target=work, args=(make,)) for make in makers]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:  # the cases under way end, and the record has what was tried
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return results


def _chosen(given: argparse.Namespace, stage: Stage) -> list[Case]:
    counts = {
        "kills": given.kills,
        "damage": given.damage,
        "resources": given.resources,
        "signals": given.resources,
        "bad-input": given.bad_input,
    }
    if not any(counts.values()) or given.only:
        counts = dict.fromkeys(counts, ALL) | {"kills": max(100, given.kills or 0)}
    if given.quick:
        counts = QUICK
    every = {
        "kills": lambda: kills.cases(counts["kills"] or 0, given.seed),
        "damage": lambda: damage.cases(stage),
        "resources": resources.cases,
        "signals": signals.cases,
        "bad-input": bad_input.cases,
    }
    chosen = [c for kind, n in counts.items() if n for c in spread(every[kind](), n)]
    if given.only:
        chosen = [c for make in every.values() for c in make() if c.name.startswith(given.only)]
        if not chosen:
            sys.exit(f"tests.faults: error: --only got {given.only}, which begins no case's name")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Tries what may happen to a run; the last line is one JSON object. Without a "
        "choice of cases, all are tried; a number takes so many of them, evenly spread.",
    )
    number = {"type": int, "metavar": "N", "nargs": "?", "const": ALL}
    parser.add_argument("--kills", type=int, metavar="N", help="kill -9 at N random moments")
    parser.add_argument("--damage", **number, help="damaged files of a run, a store, a dataset")
    parser.add_argument("--resources", **number, help="disks, memory, two writers, and signals")
    parser.add_argument("--bad-input", **number, help="bad values for every flag")
    parser.add_argument("--quick", action="store_true", help="a fixed spread of every kind")
    parser.add_argument("--only", metavar="NAME", help="the cases whose names begin so")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="cases at once (2)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the kills' moments")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the campaign")
    return parser


def _own_mounts() -> None:
    """A mount namespace of the campaign's own where it is allowed: small disks end with it."""
    if os.geteuid() == 0 and ctypes.CDLL(None).unshare(0x20000) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=False)


def _machine(load: float) -> dict[str, Any]:
    return {
        "machine": {
            "system": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
            "root": os.geteuid() == 0,
            "load_before": round(load, 1),
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has set it to be ignored
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
