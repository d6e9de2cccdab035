"""Processes that stay resident and answer one line with one line of JSON, one at a time."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE = 10  # seconds that a worker has to end after `quit`


class WorkerFailed(Exception):
    """A worker said that it cannot go on, or ended without a word."""


class Worker(NamedTuple):
    """A running process with its pipes."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]  # what it writes to standard error


@contextlib.contextmanager
def resident(commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Worker]]:
    """Starts all workers at once (`python` and a command's words); ends them all at the end."""
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, command in commands.items():
            errors = stack.enter_context(tempfile.TemporaryFile("w+"))
            workers[name] = Worker(name, start(command, errors), errors)
            stack.callback(stop, workers[name])
        yield workers


def start(command: Sequence[str], errors: IO[str]) -> subprocess.Popen[str]:
    """Starts a process of this Python in the repository's root."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def send(worker: Worker, request: str) -> None:
    """Sends a line; a worker that has ended is noticed by `receive`."""
    assert worker.process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        worker.process.stdin.write(f"{request}\n")
        worker.process.stdin.flush()


def receive(worker: Worker) -> dict[str, Any]:
    """Waits for the next reply.

    Raises:
        WorkerFailed: it is an error, or there is none.
    """
    assert worker.process.stdout is not None
    line = worker.process.stdout.readline()
    if not line:
        status = worker.process.wait()
        worker.errors.seek(0)
        said = worker.errors.read().strip().splitlines() or ["nothing on standard error"]
        raise WorkerFailed(f"{worker.name} ended with status {status}: {said[-1]}")
    reply = json.loads(line)
    if "error" in reply:
        raise WorkerFailed(f"{worker.name}: {reply['error']}")
    return reply


def ask(worker: Worker, request: str) -> dict[str, Any]:
    """The reply to a line.

    Raises:
        WorkerFailed: it is an error, or there is none.
    """
    send(worker, request)
    return receive(worker)


def stop(worker: Worker) -> None:
    """Asks to quit, and insists where that does not help."""
    send(worker, "quit")
    try:
        worker.process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        worker.process.kill()
        worker.process.communicate()


def in_turns(
    bursts: Mapping[str, Callable[[], dict[str, Any]]], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """`repeats` replies of each, in the order A B C A B C: what slows one slows its neighbors."""
    replies: dict[str, list[dict[str, Any]]] = {name: [] for name in bursts}
    for _ in range(repeats):
        for name, burst in bursts.items():
            replies[name].append(burst())
    return replies
