"""Every process but 0 in the star of `wire.py`."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

from flaxae.training import wire
from flaxae.training.links import Reader, send
from flaxae.training.wire import Failure, Wire


class Spoke(Wire):
    """Any other process: one connection, to process 0."""

    def __init__(
        self,
        link: socket.socket,
        index: int,
        names: list[str],
        patience: float,
        on_failure: Callable[[Failure], None],
    ) -> None:
        super().__init__(index, names, [0], patience, on_failure)
        self._link = link
        self._sending = threading.Lock()  # a message is sent as a whole
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._live, daemon=True).start()

    def fail(self, status: int, line: str) -> None:
        self._is_over = True
        self._tell({"failed": Failure(status, line)._asdict()})

    def leave(self) -> None:
        self._is_over = True
        self._tell({"bye": True})

    def _give(self, key: str, value: Any, patient: bool) -> None:
        self._tell({"key": key, "value": value, "patient": patient})

    def _send_sign(self) -> None:
        if self._signs.lately():
            self._tell({"alive": True})

    def _end_all(self, failure: Failure) -> None:
        self._tell({"failed": failure._asdict()})
        self._end(failure)

    def _tell(self, message: dict[str, Any]) -> None:
        # The end of the connection is noticed where it is read.
        with self._sending, contextlib.suppress(OSError):
            send(self._link, message)

    def _listen(self) -> None:
        reader = Reader(self._link)
        with selectors.DefaultSelector() as selector:
            selector.register(self._link, selectors.EVENT_READ)
            is_connected = True
            while is_connected:
                for message in reader.messages() if selector.select(wire.TICK) else ():
                    is_connected = message is not None
                    self._received(message)
                self._look_for_silent()
        self._link.close()

    def _received(self, message: dict[str, Any] | None) -> None:
        self._signs.heard(0)
        if message is None:
            line = f"{self.names[0]} is gone without a word: killed, or its machine is lost"
            self._end(Failure(1, line))
        elif "values" in message:
            self._complete(message["key"], message["values"])
        elif "failed" in message:
            self._end(Failure(**message["failed"]))
        elif "bye" in message:
            self._is_over = True
