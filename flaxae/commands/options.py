"""Flags that several commands have."""

from dataclasses import dataclass
from typing import Literal

from flaxae.config import parse_checkpoint
from flaxae.errors import Options, PathText

SplitName = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(Options):
    """Process."""

    compilation_cache: PathText | None = None
    """Folder that keeps compiled programs, or off (none: flaxae in the user's cache folder)."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(ProcessOptions):
    """What is looked at, and with which weights."""

    split: SplitName = "test"
    """Which images."""
    images: PathText | None = None
    """Folder of images, one image file, or an array file, in place of a split."""
    checkpoint: str = "best"
    """best (by validation loss), latest, or the number of a step."""

    @property
    def title(self) -> str:
        """What is looked at, for people."""
        return f"{self.split} split" if self.images is None else f"images of {self.images}"

    @property
    def what(self) -> str:
        """What is looked at, for default file names."""
        return self.split if self.images is None else "images"

    def check(self) -> None:
        super().check()
        parse_checkpoint(self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class RunOptions(ImageOptions):
    """Run."""

    workdir: PathText
    """Folder of a run of `train`."""
