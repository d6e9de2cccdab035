"""Standard output and error of the command: writing to them never raises an exception.

A run that trains must not fail because its log is on a full disk, and what cannot be written when
the process ends must not become a traceback of the interpreter. So errors are remembered here, and
the exit status tells of them.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import TextIO


class Output(io.FileIO):
    """A file descriptor whose errors are remembered in place of being raised."""

    def __init__(self, descriptor: int, on_closed: Callable[[], None] | None = None) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.lost: OSError | None = None  # why something could not be written
        self.reader_gone = False  # the pipe has been closed at its other end
        self._on_closed = on_closed

    def write(self, data) -> int:  # type: ignore[no-untyped-def] # a buffer of any kind
        """Writes all of it, or drops it after the first error."""
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and not self.reader_gone:
            try:
                written += os.write(self.fileno(), view[written:])
            except BrokenPipeError:
                self.reader_gone = True
                if self._on_closed is not None:
                    self._on_closed()
            except OSError as error:
                self.lost = self.lost or error
                break
        return len(view)


def take_over(on_closed: Callable[[], None]) -> Output:
    """Puts `Output` below `sys.stdout` and `sys.stderr`; returns that of stdout.

    `on_closed` is called when nobody reads standard output any more.
    """
    _open_closed_descriptors()
    out, error = Output(1, on_closed), Output(2)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(error, sys.stderr)
    return out


def write_any_text() -> None:
    r"""Characters that the terminal's encoding lacks, as in the locale C, are written as \u...."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _text(raw: Output, like: TextIO | None) -> TextIO:
    encoding = like.encoding if like is not None else "utf-8"
    buffered = io.BufferedWriter(raw)
    is_line_wise = raw.fileno() == 2 or raw.isatty()
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=is_line_wise)


def _open_closed_descriptors() -> None:
    """Opens what the parent has closed: else the next file gets its number, and our output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
