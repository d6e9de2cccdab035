"""Signals to train, evaluate and embed: at start-up, while compiling, in an epoch, half-way.

Real processes. A signal has to be said in a line, but not before Python runs. PIPE, which Python
ignores, may do nothing.
"""

import signal
import time
from collections.abc import Callable, Iterator

from tests.faults.case import Case
from tests.faults.judge import check_clean, check_numbers, check_signal, check_success
from tests.faults.process import Ended, Running
from tests.faults.stage import EMBED, EVALUATE, LONG, SECONDS, Lost, Skipped, Stage

_NAMES = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "PIPE")
STOP = 12.0  # seconds to stop: training saves a checkpoint first


def cases() -> Iterator[Case]:
    for name in _NAMES:
        number = signal.Signals[f"SIG{name}"]
        for moment, act in _MOMENTS.items():
            yield Case(f"signals/{name}/{moment}", lambda stage, a=act, n=number: a(stage, n))


def _train(
    wait: Callable[[Stage, Running], None], said: bool = True, **env: str
) -> Callable[..., None]:
    def act(stage: Stage, number: int) -> None:
        stage.learn_long()
        running = stage.start(*LONG, env=env)
        wait(stage, running)
        if running.ended():
            raise Lost("ended before the signal")
        running.signal(number)
        _judge(running.wait(STOP if number != signal.SIGPIPE else SECONDS), number, said)
        ended = stage.run(*LONG)
        check_success(ended)
        check_numbers(stage, ended, of="long")
        check_clean(stage, "run", "store")

    return act


def _reader(name: str, words: list[str]) -> Callable[..., None]:
    def act(stage: Stage, number: int) -> None:
        for fraction in (0.6, 0.3, 0.15):  # a machine may be faster now than when it was measured
            running = stage.start(*words)
            time.sleep(fraction * stage.seconds[name])
            if not running.ended():
                break
        else:
            raise Skipped("ended before the signal")
        running.signal(number)
        _judge(running.wait(STOP if number != signal.SIGPIPE else SECONDS), number, True)
        check_clean(stage, "run", "store")
        if [p for p in stage.folder.iterdir() if p.name.startswith(".out")]:
            raise Lost("left a half export behind")

    return act


def _judge(ended: Ended, number: int, said: bool) -> None:
    if number == signal.SIGPIPE and ended.status == 0:
        return check_success(ended)
    check_signal(ended, number, wants_line=said and number != signal.SIGPIPE)


def _until(*names: str, then: float = 0.0) -> Callable[[Stage, Running], None]:
    """Waits until a file of the run is there and not empty."""

    def wait(stage: Stage, running: Running) -> None:
        paths = [stage.path(name) for name in names]
        until = time.monotonic() + SECONDS
        while not all(p.exists() and p.stat().st_size for p in paths):
            if running.ended() or time.monotonic() > until:
                raise Lost(f"no {names[0]} came")
            time.sleep(0.005)
        time.sleep(then)

    return wait


_MOMENTS: dict[str, Callable[..., None]] = {
    "first-moment": _train(lambda stage, running: time.sleep(0.15), said=False),
    "start-up": _train(lambda stage, running: time.sleep(0.4 * stage.seconds["train"])),
    "compiling": _train(_until("run/dataset.json", then=0.7), JAX_ENABLE_COMPILATION_CACHE="false"),
    "epoch": _train(_until("run/metrics.jsonl")),
    "evaluate": _reader("evaluate", EVALUATE),
    "embed": _reader("embed", EMBED),
}
