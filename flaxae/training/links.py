"""The sockets between process 0 and the others: how they are made, and lines of JSON over them."""

import contextlib
import json
import socket
import time
from typing import Any

_LONGEST = 1 << 20  # bytes of a message
# A host that has vanished answers no probe: it is lost after 4 + 4 * 2 seconds.
_PROBES = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 4}


class Reader:
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


def send(link: socket.socket, message: dict[str, Any]) -> None:
    """Sends a message as a whole; raises OSError if the connection has ended."""
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
        send(link, {"names": ordered})
    return links, ordered


def connect(address: tuple[str, int], index: int, token: str, name: str, seconds: float) -> Any:
    """The connection to process 0, and the names of all processes.

    Raises:
        OSError: process 0 cannot be reached.
    """
    link = socket.create_connection(address, seconds)
    send(link, {"token": token, "index": index, "name": name})
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
