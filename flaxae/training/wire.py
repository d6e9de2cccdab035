"""Messages between the processes of a run: a star of sockets around process 0.

JAX's collectives move arrays. What is agreed on beside them travels here, as lines of JSON: which
checkpoint is restored, whether a signal asks to stop, who has failed. A process whose connection
ends without a word is lost, which all others then know at once. One that is stopped keeps its
connection, so each process also gives a sign of life every few seconds.
"""

import contextlib
import json
import logging
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

logger = logging.getLogger("flaxae.processes")

_TICK = 0.5  # seconds between two looks at who is late
_FIRST_NOTE = 10.0  # seconds; the next notes come after twice the time each
_SIGN = 2.0  # seconds between two signs of life
_LONGEST = 1 << 20  # bytes of a message
# A host that has vanished answers no probe: it is lost after 4 + 4 * 2 seconds.
_PROBES = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 4}


class Failure(NamedTuple):
    """Why a run of several processes ends."""

    status: int  # of every process that ends because of it
    line: str


class Wire:
    """What a process has of the star. All processes ask for the same names in the same order.

    `on_failure` is called in a thread, once, when another process has failed.
    """

    def __init__(self, index: int, names: list[str], on_failure: Callable[[Failure], None]) -> None:
        self.index = index
        self.count = len(names)
        self.names = names  # of all processes, for messages
        self._on_failure = on_failure
        self._asked: Counter[str] = Counter()
        self._answers: dict[str, list[Any]] = {}
        self._changed = threading.Condition()
        self._is_over = False

    def ask(self, name: str, value: Any, patient: bool = True) -> str:
        """Gives this process's value, and returns at once; `answer` has those of all.

        Processes that have not given theirs are waited for: `patient` without an end.
        """
        self._asked[name] += 1
        key = f"{name} {self._asked[name]}"
        self._give(key, value, patient)
        return key

    def answer(self, key: str) -> list[Any]:
        """Waits for the values of all processes, in their order."""
        with self._changed:
            while key not in self._answers:
                self._changed.wait(0.2)  # so that signals are handled meanwhile
            return self._answers.pop(key)

    def gather(self, name: str, value: Any = None, patient: bool = True) -> list[Any]:
        """The values of all processes, in their order; a barrier too."""
        return self.answer(self.ask(name, value, patient))

    def fail(self, status: int, line: str) -> None:
        """Tells the others that this process has failed."""
        raise NotImplementedError

    def leave(self) -> None:
        """Says goodbye; process 0 waits for the others, whose runtime needs it."""
        raise NotImplementedError

    def _give(self, key: str, value: Any, patient: bool) -> None:
        raise NotImplementedError

    def _complete(self, key: str, values: list[Any]) -> None:
        with self._changed:
            self._answers[key] = values
            self._changed.notify_all()

    def _end(self, failure: Failure) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_failure(failure)


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
        super().__init__(0, names, on_failure)
        self._sockets = sockets
        self._patience = patience  # seconds
        self._lock = threading.RLock()
        self._pending: dict[str, _Late] = {}
        self._noted: dict[str | int, float] = {}  # seconds before the next note, by whom or what
        self._heard = dict.fromkeys(sockets, time.monotonic())  # when each last said anything
        self._said_goodbye: set[int] = set()
        self._gone: set[int] = set()  # whose connection has ended
        threading.Thread(target=self._listen, daemon=True).start()

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

    def _tell(self, message: dict[str, Any], but: int | None = None) -> None:
        with self._lock:
            for index, link in self._sockets.items():
                if index != but and index not in self._gone:
                    with contextlib.suppress(OSError):  # its end is noticed where it is read
                        _send(link, message)

    def _tell_failure(self, failure: Failure, but: int | None) -> None:
        self._tell({"failed": failure._asdict()}, but)
        self._await_ends()

    def _await_ends(self, seconds: float = 3.0) -> None:
        """JAX ends the others in its own way, and at length, when process 0 is gone."""
        end = time.monotonic() + seconds
        while len(self._gone) < len(self._sockets) and time.monotonic() < end:
            time.sleep(0.01)

    def _listen(self) -> None:
        selector = selectors.DefaultSelector()
        readers = {index: _Reader(link) for index, link in self._sockets.items()}
        for index, link in self._sockets.items():
            selector.register(link, selectors.EVENT_READ, index)
        while len(self._gone) < len(self._sockets):
            for event, _ in selector.select(_TICK):
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
            self._look_for_silent()
        selector.close()

    def _received(self, index: int, message: dict[str, Any]) -> None:
        self._heard[index] = time.monotonic()
        self._noted.pop(index, None)
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

    def _end_all(self, failure: Failure, but: int | None) -> None:
        if self._is_over:
            return

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
            elif waited > self._noted.get(key, _FIRST_NOTE):
                self._noted[key] = 2 * waited
                logger.info("waiting for %s at '%s', %.0f seconds so far", names, what, waited)

    def _look_for_silent(self) -> None:
        """Of a process that is stopped within a step, this one waits in the step's sum."""
        with self._lock:
            arrived = [late.values.keys() for late in self._pending.values()]
        known = {index for index in self._heard if any(index not in keys for keys in arrived)}
        patience = max(self._patience, 5 * _SIGN)
        for index in self._heard.keys() - self._said_goodbye - self._gone:
            silent, name = time.monotonic() - self._heard[index], self.names[index]
            if self._is_over:
                return
            if silent > patience:
                self._give_up(f"{name} gave no sign of life", patience)
            elif index not in known and silent > self._noted.get(index, _FIRST_NOTE):
                self._noted[index] = 2 * silent
                logger.info("waiting for %s, no sign of life for %.0f seconds", name, silent)

    def _give_up(self, what: str, seconds: float) -> None:
        line = f"{what} within {seconds / 60:g} minutes; --wait-minutes gives more"
        self._end_all(Failure(1, line), but=None)


class Spoke(Wire):
    """Any other process: one connection, to process 0."""

    def __init__(
        self,
        link: socket.socket,
        index: int,
        names: list[str],
        on_failure: Callable[[Failure], None],
    ) -> None:
        super().__init__(index, names, on_failure)
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

    def _live(self) -> None:
        while not self._is_over:
            self._tell({"alive": True})
            time.sleep(_SIGN)

    def _tell(self, message: dict[str, Any]) -> None:
        # The end of the connection is noticed where it is read.
        with self._sending, contextlib.suppress(OSError):
            _send(self._link, message)

    def _listen(self) -> None:
        reader = _Reader(self._link)
        while True:
            for message in reader.messages():
                if message is None:
                    self._link.close()
                    line = f"{self.names[0]} is gone without a word: killed, or its machine is lost"
                    self._end(Failure(1, line))
                    return
                if "values" in message:
                    self._complete(message["key"], message["values"])
                elif "failed" in message:
                    self._end(Failure(**message["failed"]))
                elif "bye" in message:
                    self._is_over = True


class _Reader:
    """Messages from a socket; None is its end."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._rest = b""

    def messages(self) -> list[dict[str, Any] | None]:
        """Those that one read gives."""
        try:
            found = self._link.recv(1 << 16)
        except OSError:
            found = b""
        if not found:
            return [None]
        *lines, self._rest = (self._rest + found).split(b"\n")
        return [json.loads(line) for line in lines]


def _send(link: socket.socket, message: dict[str, Any]) -> None:
    link.sendall(json.dumps(message).encode() + b"\n")


def listen() -> socket.socket:
    """A socket of process 0 that the others can reach, on a free port."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def accept(server: socket.socket, count: int, token: str, name: str, seconds: float) -> Any:
    """The connections of all others by their index, and the names of all processes.

    Raises:
        TimeoutError: one has not come.
    """
    links: dict[int, socket.socket] = {}
    names = {0: name}
    end = time.monotonic() + seconds
    with server:
        while len(links) < count - 1:
            server.settimeout(max(end - time.monotonic(), 0.01))
            link, _ = server.accept()
            hello = _hello(link)
            if hello.get("token") != token:  # a stranger
                link.close()
                continue
            links[hello["index"]], names[hello["index"]] = link, hello["name"]
    ordered = [names[index] for index in range(count)]
    for link in links.values():
        _keep_alive(link)
        _send(link, {"names": ordered})
    return links, ordered


def connect(address: tuple[str, int], index: int, token: str, name: str, seconds: float) -> Any:
    """The connection to process 0, and the names of all processes.

    Raises:
        OSError: process 0 cannot be reached.
    """
    link = socket.create_connection(address, seconds)
    _send(link, {"token": token, "index": index, "name": name})
    names = _hello(link, seconds)["names"]
    _keep_alive(link)
    return link, names


def _hello(link: socket.socket, seconds: float = 10.0) -> dict[str, Any]:
    """The first line, read byte by byte, because messages may follow it."""
    link.settimeout(seconds)
    line = b""
    with contextlib.suppress(OSError, ValueError):
        while len(line) < _LONGEST and not line.endswith(b"\n"):
            byte = link.recv(1)
            if not byte:
                break
            line += byte
        message = json.loads(line)
        return message if isinstance(message, dict) else {}
    return {}


def _keep_alive(link: socket.socket) -> None:
    link.settimeout(None)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):  # Linux
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
