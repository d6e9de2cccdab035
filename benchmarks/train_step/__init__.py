"""How long does a training step take beside plain flax.linen, Keras and PyTorch?"""

from dataclasses import dataclass

from benchmarks.common import command, peers
from benchmarks.common.command import COUNT, COUNTS, flag, several
from benchmarks.common.steps.workload import MODELS


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """A training step of flaxae and its peers: proof of equality, times, memory."""

    question = "train_step"
    measure = "benchmarks.train_step.report:compare_steps"
    smoke_values = {"models": ("convolutional",), "batch_sizes": (8,), "repeats": 3}  # noqa: RUF012
    peers: tuple[str, ...] = flag(None, "None: all installed", nargs="*", choices=[*peers.PEERS])
    models: tuple[str, ...] = several(MODELS, "autoencoders")
    batch_sizes: tuple[int, ...] = flag((32, 64, 256, 1024), "images in a step", **COUNTS)
    repeats: int = flag(10, "bursts of each variant", **COUNT)

    def __post_init__(self) -> None:
        named = self.peers is not None
        found = peers.present(self.peers if named else tuple(peers.PEERS), "--peers" * named)
        object.__setattr__(self, "peers", found)  # the dataclass is frozen
