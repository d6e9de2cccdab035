"""Turns signals into a flag that the training loop polls."""

import signal
import threading
from types import FrameType
from typing import Any

from flaxae.training.loop import View


class StopSignal:
    """A callback that stops training after the call or validation batch in which one arrives.

    A second signal of the same kind acts as if no handler had been installed. Outside the main
    thread, where Python allows no handlers, it does nothing.
    """

    everywhere = True

    def __init__(self, *numbers: signal.Signals) -> None:
        self.received: int | None = None
        self._numbers = numbers
        self._arrived: set[int] = set()
        self._previous: dict[int, Any] = {}

    def on_start(self, view: View) -> None:
        """Installs the handlers; a signal that the parent has set to be ignored stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._remember)

    def on_call(self, view: View) -> bool:
        """Whether a signal has arrived."""
        return self.received is not None

    def on_validation(self, view: View) -> bool:
        """Whether a signal has arrived."""
        return self.received is not None

    def on_epoch(self, view: View) -> bool:
        """Whether a signal has arrived."""
        return self.received is not None

    def on_end(self, view: View) -> None:
        """Restores the handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        if number not in self._arrived:
            self._arrived.add(number)
            return
        handler = self._previous[number]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(signal.Signals(number))
