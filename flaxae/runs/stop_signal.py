"""SIGINT and SIGTERM as a question that a loop asks, instead of an exception anywhere."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[], int | None]]:
    """A function that tells the number of the signal that asked to stop, or None.

    A second signal of the same kind acts as if nothing had been installed.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    # A signal that whoever started us has told to ignore, as nohup does, stays ignored.
    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) != signal.SIG_IGN]
    previous = {number: signal.signal(number, remember) for number in heeded}
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
