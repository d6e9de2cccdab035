"""The other frameworks, which need not be installed."""

import importlib.util
from collections.abc import Sequence

from flaxae.errors import InputError

PEERS = {"keras": ("keras", "tensorflow"), "torch": ("torch",)}  # and the modules that each needs


def installed(peer: str) -> bool:
    """Whether all modules that a peer needs can be found; imports none."""
    return all(importlib.util.find_spec(name) is not None for name in PEERS[peer])


def present(wanted: Sequence[str], flag: str | None) -> tuple[str, ...]:
    """Those that are installed; says which are not, or raises InputError if a flag names them."""
    absent = [peer for peer in wanted if not installed(peer)]
    advice = f"{' and '.join(absent)} not installed; pip install -r benchmarks/requirements.txt"
    if absent and flag:
        raise InputError(f"{flag}: {advice}")
    if absent:
        print(f"{advice} to compare with them too", flush=True)
    return tuple(peer for peer in wanted if peer not in absent)
