"""Processes that stay resident and answer requests one at a time."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

from flaxae.errors import RunError

_PATIENCE = 10  # seconds that a worker may take to finish its last request


class WorkerFailed(RunError):
    """A worker raised an exception or ended."""


class Worker:
    """A process that replies `answer(*request)` to each request; `answer` is pickled."""

    def __init__(self, name: str, answer: Callable[..., Any]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process' memory
        self._pipe, other_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(other_end, answer), daemon=True)
        self.process.start()
        other_end.close()  # so that `ask` notices when the process ends

    def ask(self, *request: Any) -> Any:
        """Sends a request and blocks on the reply; raises WorkerFailed if there is none."""
        try:
            self._pipe.send(request)
            reply = self._pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            raise WorkerFailed(f"{self.name} ended with status {self.process.exitcode}") from None
        if isinstance(reply, WorkerFailed):
            raise WorkerFailed(f"{self.name}: {reply}")
        return reply

    def close(self) -> None:
        """Closes the pipe, on which the worker ends; kills it if it takes too long."""
        self._pipe.close()
        self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()


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


def _serve(pipe: Connection, answer: Callable[..., Any]) -> None:
    os.dup2(2, 1)  # what libraries print does not mix with the benchmark's own output
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C the parent ends its workers
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            request = pipe.recv()
            try:
                reply = answer(*request)
            except Exception as error:
                reply = WorkerFailed(f"{type(error).__name__}: {error}")
            pipe.send(reply)
