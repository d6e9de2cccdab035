"""The other frameworks, which need not be installed."""

import importlib.util
from collections.abc import Sequence

from flaxae.errors import InputError

PEERS = {"keras": ("keras", "tensorflow"), "torch": ("torch",)}  # and the modules that each needs
_ADVICE = "not installed; pip install -r benchmarks/requirements.txt"


def installed(peer: str) -> bool:
    """Whether all modules that a peer needs can be found; imports none."""
    return all(importlib.util.find_spec(name) is not None for name in PEERS[peer])


def require(flag: str, wanted: Sequence[str]) -> None:
    """Raises InputError if a peer that a flag names is not installed."""
    if absent := [peer for peer in wanted if not installed(peer)]:
        raise InputError(f"{flag}: {' and '.join(absent)} {_ADVICE}")


def present() -> tuple[str, ...]:
    """The peers that are installed; says which are not."""
    found = tuple(peer for peer in PEERS if installed(peer))
    if absent := [peer for peer in PEERS if peer not in found]:
        print(f"{' and '.join(absent)} {_ADVICE} to compare with them too", flush=True)
    return found
