"""How many images a second do several devices and processes train, and what limits more of them?"""

from dataclasses import dataclass

from benchmarks.common import command


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Images a second for one and two devices and processes, and on paper for many GPUs."""

    question = "devices"
    measure = "benchmarks.devices.comparison:measure"
    smoke_values = {"batch": 32, "seconds": 1, "rounds": 1}  # noqa: RUF012
    batch: int = command.flag(256, "images in a step of one device", **command.COUNT)
    seconds: int = command.flag(4, "that each sample trains", **command.COUNT)
    rounds: int = command.flag(3, "of all ways, one after the other", **command.COUNT)
