"""How long does a training step take beside plain flax.linen, Keras and PyTorch?"""

import importlib.util
from dataclasses import dataclass

from benchmarks.common import command
from benchmarks.common.command import COUNT, COUNTS, flag, several
from benchmarks.train_step.steps.workload import MODELS
from flaxae.errors import InputError

_PEERS = {"keras": ("keras", "tensorflow"), "torch": ("torch",)}  # and the modules that each needs


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """A training step of flaxae and its peers: proof of equality, times, memory."""

    question = "train_step"
    measure = "benchmarks.train_step.report:compare_steps"
    smoke_values = {"models": ("convolutional",), "batch_sizes": (8,), "repeats": 3}  # noqa: RUF012
    peers: tuple[str, ...] = flag(None, "None: all installed", nargs="*", choices=[*_PEERS])
    models: tuple[str, ...] = several(MODELS, "autoencoders")
    batch_sizes: tuple[int, ...] = flag((32, 64, 256, 1024), "images in a step", **COUNTS)
    repeats: int = flag(10, "bursts of each variant", **COUNT)

    def __post_init__(self) -> None:
        wanted = tuple(_PEERS) if self.peers is None else self.peers
        absent = [peer for peer in wanted if not installed(peer)]
        advice = "not installed; pip install -r benchmarks/requirements.txt"
        if absent and self.peers is not None:
            raise InputError(f"--peers: {' and '.join(absent)} {advice}")
        if absent:
            print(f"{' and '.join(absent)} {advice} to compare with them too", flush=True)
        present = tuple(peer for peer in wanted if peer not in absent)
        object.__setattr__(self, "peers", present)  # the dataclass is frozen


def installed(peer: str) -> bool:
    """Whether all modules that a peer needs can be found; imports none."""
    return all(importlib.util.find_spec(name) is not None for name in _PEERS[peer])
