"""Processes that stay resident and answer requests one at a time."""

import contextlib
import faulthandler
import multiprocessing
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flaxae.errors import RunError

# What C++ and Python print before a process is aborted.
_CAUSE = re.compile(
    r"^F\d{4} |^F0000|Check failed|terminate called|what\(\):|^Fatal Python error|LLVM ERROR|"
    r"out of memory|Resource temporarily unavailable|Thread .* creation.* failed|: Assertion"
)
_LINES = 4  # of them are shown
_PATIENCE = 10  # seconds that a worker may take to finish its last request


class WorkerFailed(RunError):
    """A worker raised an exception or ended."""


class Worker:
    """A process that replies `answer(*request)` to each request; `answer` is pickled."""

    def __init__(self, name: str, answer: Callable[..., Any]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process' memory
        self._pipe, other_end = context.Pipe()
        handle, self._log = tempfile.mkstemp(prefix="flaxae-worker-")  # what it prints
        os.close(handle)
        arguments = (other_end, answer, self._log)
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        self.process.start()
        other_end.close()  # so that `ask` notices when the process ends

    def ask(self, *request: Any) -> Any:
        """Sends a request and blocks on the reply; raises WorkerFailed if there is none."""
        try:
            self._pipe.send(request)
            reply = self._pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            log = Path(self._log).read_text("utf-8", "replace")
            why = explanation(self.process.exitcode or 0, log)
            raise WorkerFailed(f"{self.name} {why}") from None
        if isinstance(reply, WorkerFailed):
            raise WorkerFailed(f"{self.name}: {reply}")
        return reply

    def close(self) -> None:
        """Closes the pipe, on which the worker ends; kills it if it takes too long."""
        self._pipe.close()
        self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()
        Path(self._log).unlink(missing_ok=True)


@contextlib.contextmanager
def resident(answers: Mapping[str, Callable[..., Any]]) -> Iterator[dict[str, Worker]]:
    """A worker for each function; all end on leaving."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(contextlib.closing(Worker(name, answer)))
            for name, answer in answers.items()
        }


def in_process(answer: Callable[..., Any], *request: Any) -> Any:
    """`answer(*request)`, computed in a new process; raises as `Worker.ask`."""
    with resident({"process": answer}) as workers:
        return workers["process"].ask(*request)


def explanation(exitcode: int, log: str) -> str:
    """Why a process ended: its signal or status, and the lines of what it printed that say more.

    Example:
        >>> explanation(-6, "F0001 a.cc:7] Check failed: n > 0\\n  @ 0x12 main\\n")
        'was ended by SIGABRT: F0001 a.cc:7] Check failed: n > 0'
    """
    if exitcode < 0:
        end = f"was ended by {signal.Signals(-exitcode).name}"
    else:
        end = f"ended with status {exitcode}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    causes = [line for line in lines if _CAUSE.search(line)]
    # The addresses of a trace come after its cause, and Python's error at the end of its trace.
    shown = causes[:_LINES] or lines[-_LINES:]
    return ": ".join([end, " | ".join(shown)]) if shown else end


def _serve(pipe: Connection, answer: Callable[..., Any], log: str) -> None:
    # What libraries print does not mix with the benchmark's own output.
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()  # so that a process that is aborted says where
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C the parent ends its workers
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = pipe.recv()
            try:
                reply = answer(*request)
            except Exception as error:
                reply = WorkerFailed(f"{type(error).__name__}: {error}")
            pipe.send(reply)
