"""Decides the exit status of a command, and the line on stderr that explains it."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

_FORBIDDEN = "give this user the right to read and write it, or take another folder"
_FULL = "make room, and repeat the command"
_WHAT_TO_DO = {
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the machine has too many files open",
}


class Stopped(KeyboardInterrupt):
    """A signal ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class Ending(NamedTuple):
    """How a process ends."""

    status: int
    line: str  # on stderr; "" for none


def status_of(command: Callable[[], int]) -> int:
    """The command's exit status; what ends it early becomes one line on stderr.

    Raises:
        Exception: one that nobody expected, which needs a traceback.
    """
    try:
        return command()
    except BaseException as error:
        ending = ending_of(error)
        if ending is None:
            raise
        say(ending.line)
        return ending.status


def ending_of(error: BaseException) -> Ending | None:
    """How an exception ends the process; None if nobody expected it.

    Bad input is 2, what a run cannot do is 1, and a signal is 128 and its number.
    """
    if isinstance(error, KeyboardInterrupt):
        return stopped_by(error.number if isinstance(error, Stopped) else signal.SIGINT)
    from flaxae.data.file_names import escaped, printable
    from flaxae.errors import InputError, RunError

    if isinstance(error, (InputError, RunError)):
        status, text = 2 if isinstance(error, InputError) else 1, escaped(str(error))
    elif isinstance(error, OSError):
        status, text = 1, _fault(error)
    elif isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):  # JAX's own error
        status, text = (
            1,
            (
                f"there is not enough memory ({printable(error) or 'none left'}); take a smaller "
                "--batch-size, a smaller model or smaller images"
            ),
        )
    else:
        return None
    return Ending(status, f"flaxae: error: {text}")


def _fault(error: OSError) -> str:
    """What the system refused, and what to do about it."""
    from flaxae.data.file_names import escaped, printable

    place = os.fspath(error.filename) if isinstance(error.filename, (str, os.PathLike)) else ""
    what = f"{printable(place)} cannot be used" if place else "the system refused a file"
    reason = escaped(error.strerror or str(error))
    what_to_do = _WHAT_TO_DO.get(error.errno or 0, "mend that, and repeat the command")
    return f"{what}: {reason}; {what_to_do}"


def stopped_by(number: int) -> Ending:
    """The end after a signal; a reader that has closed the pipe is told nothing."""
    line = "" if number == signal.SIGPIPE else f"flaxae: {Stopped(number)}"
    return Ending(128 + number, line)


def say(line: str) -> None:
    """Writes the line to stderr, if there is one."""
    if line:
        print(line, file=sys.stderr, flush=True)
