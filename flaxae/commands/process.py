"""The process of a command: its signals, and its end.

`run` is called before anything heavy is imported, so this module imports little.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from flaxae.commands.ending import Ending, Stopped, ending_of, say, stopped_by
from flaxae.commands.output import take_over

# All that ask a process to end. Some schedulers send SIGUSR1 or SIGUSR2 before they kill.
SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_PATIENCE = 1.5  # seconds from a signal to the end of the process
_LONG_PATIENCE = 9.0  # the same while a run trains and saves, or cleans up after an error
_UNSAVED = "before all was saved; the same command goes on from the last checkpoint"
_PAUSE = 0.05  # seconds before an exception that was lost is raised again
_WAKE = b"\0"  # in the pipe, where a signal is written as its number
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it


def run() -> NoReturn:
    """Runs the command that the command line asks for, and ends the process."""
    global _current
    _current = Process()
    _current.end(_current.ending())


def stopped(number: int) -> Stopped:
    """What to raise after a signal. It is SIGPIPE if the reader of stdout has gone."""
    return Stopped(number) if _current is None else _current.stopped(number)


def end_soon(error: BaseException) -> None:
    """Ends the process in a few seconds if the clean-up after `error` takes longer."""
    if _current is not None:
        _current.end_soon(error)


def take_part(
    leave: Callable[[Ending, BaseException | None], Ending],
    await_reason: Callable[[], None],
    patience: float,
) -> None:
    """Makes this one of several processes.

    `leave` is called before the end, and says how to end; `await_reason` after an exception that
    nobody expected. After a signal, training has `patience` seconds.
    """
    if _current is not None:
        _current.leave, _current.await_reason = leave, await_reason
        _current.patience = patience


def redirect(descriptor: int) -> None:
    """Writes standard output and error to another file, and only the last line where they were."""
    if _current is not None:
        _current.redirect(descriptor)


def end_now(ending: Ending) -> None:
    """Ends the process, from any thread."""
    os._exit(ending.status) if _current is None else _current.end_now(ending)


class Process:
    """Ends this process when a signal asks for it.

    Python handles signals in the main thread, between two of its own instructions. One call of
    XLA's compiler is such an instruction, and an exception that is raised inside a callback of C++
    is lost. So a second thread is told of every signal too, and ends the process if the main
    thread has not done so in time.
    """

    def __init__(self) -> None:
        self._has_begun = False  # and there may be something to clean up
        self._is_ending = threading.Lock()  # which is never released
        self._number: int | None = None  # of the first signal
        self._arrived: set[int] = set()
        self._forced: Ending | None = None  # how the second thread ends the process
        self._deadline = float("inf")  # and when
        self._raise_at = float("inf")  # when an exception that was lost is raised again
        self._echoes = 0  # signals on their way that are no one's but the second thread's
        self.patience = _LONG_PATIENCE
        self.leave: Callable[[Ending, BaseException | None], Ending] | None = None
        self.await_reason: Callable[[], None] = lambda: None
        self._error: BaseException | None = None
        self._last_line = 2  # the descriptor that gets it
        self._output = take_over(on_closed=self._on_closed)
        source, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # which the parent has asked for
                signal.signal(number, self._on_signal)
        sys.unraisablehook = self._on_lost
        threading.Thread(target=self._watch, args=(source,), daemon=True).start()

    def ending(self) -> Ending:
        """How the command ends."""
        try:
            from flaxae.commands.main import command

            self._has_begun = True
            ending = Ending(command(), "")
        except SystemExit as leave:  # argparse has printed a help
            ending = Ending(leave.code if isinstance(leave.code, int) else 1, "")
        except BaseException as error:
            known = stopped_by(self._number) if self._number else ending_of(error)
            self._error = error
            if known is None:
                self.await_reason()
                traceback.print_exc()
            ending = known or Ending(1, "")
        # A signal counts also where a library has made another exception of it, or none.
        return stopped_by(self._number) if self._number else ending

    def end(self, ending: Ending) -> NoReturn:
        """Ends the process now: no thread that a library has left behind is waited for."""
        self._has_begun = False
        if self.leave is not None:
            ending = self.leave(ending, self._error)
        sys.stdout.flush()
        if self._output.reader_gone:
            ending = stopped_by(signal.SIGPIPE)
        elif self._output.lost is not None and ending.status == 0:
            reason = self._output.lost.strerror
            line = f"flaxae: error: standard output cannot be written: {reason}"
            ending = Ending(1, line)
        if not self._is_ending.acquire(blocking=False):
            time.sleep(_LONG_PATIENCE)  # the second thread ends the process
        say(ending.line)
        sys.stderr.flush()
        if self._last_line != 2:
            self._write_line(ending)
        os._exit(ending.status)

    def redirect(self, descriptor: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if self._last_line == 2:
            self._last_line = os.dup(2)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)

    def end_now(self, ending: Ending) -> None:
        self._forced = ending
        self._force()

    def _write_line(self, ending: Ending) -> None:
        if ending.line:
            line = f"{ending.line}\n".encode("utf-8", "backslashreplace")
            with contextlib.suppress(OSError):
                os.write(self._last_line, line)

    def stopped(self, number: int) -> Stopped:
        if self._number is None:
            self._number = signal.SIGPIPE if self._output.reader_gone else number
        return Stopped(self._number)

    def end_soon(self, error: BaseException) -> None:
        ending = ending_of(error) or Ending(1, f"flaxae: error: {type(error).__name__}")
        self._set_deadline(_LONG_PATIENCE, ending)
        os.write(self._pipe, _WAKE)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        stop = self.stopped(number)
        if self._has_begun:
            raise stop
        self._set_deadline(0, stopped_by(stop.number))  # there is nothing to clean up
        self._force()

    def _on_closed(self) -> None:
        """Stops as after a signal, so that a run that trains saves its last steps."""
        signal.raise_signal(signal.SIGTERM)

    def _on_lost(self, lost: Any) -> None:
        """Called for an exception that Python cannot raise where it is."""
        if not isinstance(lost.exc_value, Stopped):
            sys.__unraisablehook__(lost)
            return
        self._raise_at = time.monotonic() + _PAUSE
        os.write(self._pipe, _WAKE)

    def _watch(self, source: int) -> None:
        """The second thread."""
        while True:
            wait = min(self._deadline, self._raise_at) - time.monotonic()
            ready = select.select([source], [], [], None if wait == float("inf") else max(wait, 0))
            for number in os.read(source, 64) if ready[0] else b"":
                self._on_byte(number)
            if time.monotonic() >= self._deadline:
                self._force()
            if time.monotonic() >= self._raise_at:
                self._raise_at = float("inf")
                self._echoes += 1
                number = self._number
                if number is None or number == signal.SIGPIPE:
                    number = signal.SIGTERM
                # The signal itself, which also interrupts a system call that waits.
                signal.pthread_kill(threading.main_thread().ident or 0, number)

    def _on_byte(self, number: int) -> None:
        if number not in SIGNALS:
            return
        if self._echoes:
            self._echoes -= 1
            return
        ending = stopped_by(self.stopped(number).number)
        is_ours = signal.getsignal(number) == self._on_signal  # else it is training's
        is_first = number not in self._arrived
        self._arrived.add(number)
        if is_ours or not is_first:
            self._set_deadline(_PATIENCE, ending)
        else:
            line = ending.line and f"{ending.line} {_UNSAVED}"
            self._set_deadline(self.patience, ending._replace(line=line))

    def _set_deadline(self, seconds: float, ending: Ending) -> None:
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        self._forced = self._forced or ending

    def _force(self) -> None:
        """Ends the process, whatever its main thread does."""
        self._deadline = float("inf")
        if self._forced is None or not self._is_ending.acquire(blocking=False):
            return  # it ends already
        # In a thread of its own, because the main thread may hold the lock of a full pipe.
        flushing = threading.Thread(target=sys.stdout.flush, daemon=True)
        flushing.start()
        flushing.join(0.2)
        if os.isatty(1):
            os.write(1, _SHOW_CURSOR)
        self._write_line(self._forced)
        os._exit(self._forced.status)


_current: Process | None = None
