"""How fast are images read and decoded, and is training fast on more images than memory holds?"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import command
from benchmarks.common.command import COUNT, flag
from flaxae.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Images a second and CPU time an image, of reading from the store and of filling it."""

    question = "data"
    measure = "benchmarks.data.speeds:measure_speeds"
    smoke_values = {"rounds": 2, "megabytes": 1}  # noqa: RUF012
    bounded: bool = flag(
        False, "trains on more than memory instead: --bounded --help", action="store_true"
    )
    rounds: int = flag(7, "samples of each time", **COUNT)
    megabytes: int = flag(128, "of pixels, for each shape of images", **COUNT)


@dataclass(frozen=True, kw_only=True)
class Bounded(command.Settings):
    """Trains on a file that is larger than the memory of the process, and times its waiting."""

    question = "data-bounded"
    measure = "benchmarks.data.bounded:measure_bounded"
    smoke_values = {"number": 2000, "side": 16, "batch": 32, "steps": 20, "limit": 2.0}  # noqa: RUF012
    bounded: bool = flag(True, "this", action="store_true")
    number: int = flag(1_000_000, "of images", **COUNT)
    side: int = flag(64, "of an image, in pixels", **COUNT)
    channels: int = flag(3, "of an image", type=int, choices=(1, 3))
    batch: int = flag(64, "images in a step", **COUNT)
    steps: int = flag(1000, "to train, fewer than an epoch has", **COUNT)
    limit: float = flag(3.0, "of the memory of the process, in GB", type=float, metavar="GB")
    files_dir: Path = flag(Path("runs/data"), "for the images, which are kept", type=Path)  # noqa: RUF009

    def __post_init__(self) -> None:
        # About 80 % of the images are for training, and a call has at most 50 steps.
        most = int(0.75 * self.number / self.batch) - 50
        if self.steps > most and not self.smoke:
            raise InputError(f"--steps got {self.steps}; expected at most {most}: give more images")
