"""Flags that several commands have."""

from dataclasses import dataclass
from typing import Literal

from flaxae.config import parse_checkpoint
from flaxae.errors import Options

SplitName = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(Options):
    """Process."""

    compilation_cache: str | None = None
    """Folder that keeps compiled programs, or off (none: flaxae in the user's cache folder)."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(ProcessOptions):
    """Run."""

    workdir: str
    """Folder of a run of `train`."""
    split: SplitName = "test"
    """Which images."""
    checkpoint: str = "best"
    """best (by validation loss), latest, or the number of a step."""

    def check(self) -> None:
        parse_checkpoint(self.checkpoint)
