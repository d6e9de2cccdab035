"""Flags that several commands have."""

from dataclasses import dataclass
from typing import Literal

from flaxae.errors import require

SplitName = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class ProcessOptions:
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

    def __post_init__(self) -> None:
        parse_checkpoint(self.checkpoint)


def parse_checkpoint(text: str) -> str | int:
    """The value of --checkpoint: "best", "latest", or a step as a number.

    Raises:
        InputError: it is none of them.
    """
    if text in ("best", "latest"):
        return text
    require(text.isdecimal(), "--checkpoint", text, "best, latest, or the number of a step")
    return int(text)
