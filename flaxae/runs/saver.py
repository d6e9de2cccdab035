"""Writes checkpoints in a thread, one at a time, and waits until a full disk has room again."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flaxae.errors import RunError
from flaxae.runs.disk_faults import is_full, reason, warn

_GRACE = 5.0  # seconds that the writing may still take when a run has failed


@dataclass(frozen=True)
class Snapshot:
    """A state in memory, which training cannot change any more."""

    step: int
    arrays: dict[str, Any]
    metadata: Any


class Saver:
    """Calls `write` in a thread. A failure is known at the next call of a method.

    A thread of our own, because what fails in Orbax's threads is told late or never, and Python
    waits for them at the end.
    """

    def __init__(self, write: Callable[[Snapshot], None], where: Path, patience: float) -> None:
        self._write = write
        self._where = where  # for messages
        self._patience = patience  # seconds
        self._snapshot: Snapshot | None = None  # being written, or not written
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._full_since: float | None = None

    def start(self, snapshot: Snapshot) -> None:
        """Waits for the save before, then starts this one.

        Raises:
            RunError: the save before failed, and waiting does not help.
        """
        self.wait()
        self._snapshot, self._error = snapshot, None
        self._thread = threading.Thread(target=self._run, args=(snapshot,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits for the save that is under way; see `poll`."""
        if self._thread is not None:
            self._thread.join()
        self.poll()

    def poll(self) -> None:
        """Tells of a save that failed.

        Raises:
            RunError: waiting does not help, or has taken too long.
        """
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            if self._error is None:
                self._snapshot = self._full_since = None
            else:
                self._failed(self._error)
        waited = time.monotonic() - self._full_since if self._full_since is not None else 0.0
        if self._thread is None and waited > self._patience:
            minutes = self._patience / 60
            raise RunError(f"nothing could be saved for {minutes:g} minutes: {self._lacking()}")

    def finish(self) -> None:
        """Waits until the last state is written, and tries once more if it is not.

        Raises:
            RunError: it cannot be written.
        """
        self.wait()
        if self._snapshot is not None:
            self.start(self._snapshot)
            assert self._thread is not None, "start has just made it"
            self._thread.join()
            self._thread = None
            if self._error is not None:
                raise RunError(self._lacking()) from self._error
            self._snapshot = self._full_since = None

    def give_up(self) -> None:
        """Gives a save that is under way some seconds; its failure is not told."""
        if self._thread is not None:
            self._thread.join(_GRACE)

    def _run(self, snapshot: Snapshot) -> None:
        try:
            self._write(snapshot)
        except BaseException as error:  # raised in the thread that trains
            self._error = error

    def _failed(self, error: BaseException) -> None:
        if not is_full(error):
            raise RunError(self._lacking()) from error
        if self._full_since is None:
            self._full_since = time.monotonic()
        warn(f"{self._lacking()}; training goes on, and the next one is tried")

    def _lacking(self) -> str:
        assert self._snapshot is not None, "a save has failed"
        assert self._error is not None, "a save has failed"
        what = f"the checkpoint of step {self._snapshot.step}"
        return f"{what} cannot be written to {self._where}: {reason(self._error)}"
