"""What a person sees on stderr while images are decoded: a bar, and remarks of one line each."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flaxae.data.file_names import escaped
from flaxae.data.store.entries import display


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Shows the progress and the remarks of the data's preparation, and who is waited for."""
    token = display.set(_bar)
    try:
        with _told("flaxae.data"), _told("flaxae.processes"):
            yield
    finally:
        display.reset(token)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Shows what the logger of this name says."""
    logger, handler = logging.getLogger(name), _OnStderr()
    level = logger.level
    propagated, logger.propagate = logger.propagate, False  # TFDS gives the root logger a handler
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
        logger.setLevel(level)


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        word = "warning" if record.levelno >= logging.WARNING else "note"
        print(f"{word}: {escaped(record.getMessage())}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:  # where rich would print an empty line
        yield lambda done, count: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=4, redirect_stdout=False
    ) as progress:
        task = progress.add_task(title, total=None)

        def update(done: int, count: int) -> None:
            progress.update(task, completed=done, total=count)

        yield update
