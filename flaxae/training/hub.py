"""Process 0 as the center of the star of `wire.py`."""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flaxae.training import signs, wire
from flaxae.training.links import Reader, send
from flaxae.training.wire import Failure, Wire

logger = logging.getLogger("flaxae.processes")


class _Late(NamedTuple):
    since: float
    patient: bool
    values: dict[int, Any]


class Hub(Wire):
    """Process 0: the center. `sockets` are those of the others, by their index."""

    def __init__(
        self,
        sockets: dict[int, socket.socket],
        names: list[str],
        patience: float,
        on_failure: Callable[[Failure], None],
    ) -> None:
        super().__init__(0, names, sockets, patience, on_failure)
        self._sockets = sockets
        self._lock = threading.RLock()
        self._pending: dict[str, _Late] = {}
        self._noted: dict[str, float] = {}  # seconds before the next note
        self._said_goodbye: set[int] = set()
        self._gone: set[int] = set()  # whose connection has ended
        self._is_ending = False
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._live, daemon=True).start()

    def fail(self, status: int, line: str) -> None:
        self._is_over = True
        self._tell_failure(Failure(status, line), but=None)

    def leave(self) -> None:
        self._is_over = True
        self._tell({"bye": True})
        self._await_ends()

    def _give(self, key: str, value: Any, patient: bool) -> None:
        self._arrived(0, key, value, patient)

    def _arrived(self, index: int, key: str, value: Any, patient: bool) -> None:
        with self._lock:
            late = self._pending.setdefault(key, _Late(time.monotonic(), patient, {}))
            late.values[index] = value
            if len(late.values) < self.count:
                return
            del self._pending[key]
            self._noted.pop(key, None)
            values = [late.values[index] for index in range(self.count)]
            self._tell({"key": key, "values": values})
        self._complete(key, values)

    def _tell(self, message: dict[str, Any], to: Iterable[int] | None = None) -> None:
        with self._lock:
            for index in self._sockets if to is None else to:
                if index not in self._gone:
                    with contextlib.suppress(OSError):  # its end is noticed where it is read
                        send(self._sockets[index], message)

    def _send_sign(self) -> None:
        self._tell({"alive": True}, self._signs.lately())

    def _tell_failure(self, failure: Failure, but: int | None) -> None:
        self._tell({"failed": failure._asdict()}, [i for i in self._sockets if i != but])
        self._await_ends()

    def _await_ends(self, seconds: float = 3.0) -> None:
        """JAX ends the others in its own way, and at length, when process 0 is gone."""
        end = time.monotonic() + seconds
        while len(self._gone) < len(self._sockets) and time.monotonic() < end:
            time.sleep(0.01)

    def _listen(self) -> None:
        selector = selectors.DefaultSelector()
        readers = {index: Reader(link) for index, link in self._sockets.items()}
        for index, link in self._sockets.items():
            selector.register(link, selectors.EVENT_READ, index)
        while len(self._gone) < len(self._sockets):
            for event, _ in selector.select(wire.TICK):
                index = event.data
                for message in readers[index].messages():
                    if message is not None:
                        self._received(index, message)
                        continue
                    selector.unregister(self._sockets[index])
                    self._sockets[index].close()
                    self._gone.add(index)
                    self._lost(index)
            self._look_for_late()
            self._look_for_silent(self._said_goodbye | self._gone, self._known_late())
        selector.close()

    def _received(self, index: int, message: dict[str, Any]) -> None:
        self._signs.heard(index)
        if "key" in message:
            self._arrived(index, message["key"], message["value"], message["patient"])
        elif "failed" in message:
            self._end_all(Failure(**message["failed"]), but=index)
        elif "bye" in message:
            self._said_goodbye.add(index)

    def _lost(self, index: int) -> None:
        if self._is_over or index in self._said_goodbye:
            return
        line = f"{self.names[index]} is gone without a word: killed, or its machine is lost"
        self._end_all(Failure(1, line), but=index)

    def _end_all(self, failure: Failure, but: int | None = None) -> None:
        if self._is_over or self._is_ending:
            return
        self._is_ending = True

        # In a thread of its own, because this one sees the others leave.
        def end() -> None:
            self._tell_failure(failure, but)
            self._end(failure)

        threading.Thread(target=end, daemon=True).start()

    def _look_for_late(self) -> None:
        with self._lock:
            pending = list(self._pending.items())
        for key, late in pending:
            waited, what = time.monotonic() - late.since, key.rpartition(" ")[0]
            lacking = [i for i in range(self.count) if i not in late.values]
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            names = ", ".join(self.names[index] for index in lacking[:5]) + more
            if not late.patient and waited > self._patience:
                self._give_up(f"{names} did not come to '{what}'", self._patience)
            elif waited > self._noted.get(key, signs.FIRST_NOTE):
                self._noted[key] = 2 * waited
                logger.info("waiting for %s at '%s', %.0f seconds so far", names, what, waited)

    def _known_late(self) -> set[int]:
        """Those of whom `_look_for_late` tells."""
        with self._lock:
            arrived = [late.values.keys() for late in self._pending.values()]
        return {index for index in self._sockets if any(index not in keys for keys in arrived)}
