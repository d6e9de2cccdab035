"""How fast does `--preset standard` train on larger images, and in how much memory?"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.common import command
from benchmarks.common.command import COUNT, flag
from flaxae.errors import InputError


class Shape(NamedTuple):
    """Of an image."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return "x".join(map(str, self))


def parse_shape(text: str) -> Shape:
    """The shape of "96x160x3"; raises InputError for others."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})x([13])", text)
    if found is None:
        raise InputError(f"--shapes got {text}; expected HEIGHTxWIDTHxCHANNELS, such as 96x160x3")
    return Shape(*map(int, found.groups()))


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Images a second and memory of training by the size of the images, with --preset standard."""

    question = "image_sizes"
    measure = "benchmarks.image_sizes.training:measure_sizes"
    smoke_values = {"shapes": ("33x47x1",), "seconds": 1, "repeats": 1, "batch": 8}  # noqa: RUF012
    shapes: tuple[str, ...] = flag(
        ("28x28x1", "33x47x1", "64x64x3", "96x160x3", "224x224x1", "224x224x3"),
        "HEIGHTxWIDTHxCHANNELS of the images",
        nargs="+",
    )
    batch: int = flag(32, "images in a step", **COUNT)
    seconds: int = flag(10, "that an epoch takes at least, about", **COUNT)
    repeats: int = flag(3, "epochs that are timed", **COUNT)

    def __post_init__(self) -> None:
        for text in self.shapes:
            parse_shape(text)
