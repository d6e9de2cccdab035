"""How many images a second do several devices and processes train, and what limits more of them?"""

from dataclasses import dataclass

from benchmarks.common import command


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Images a second for one and two devices and processes, and on paper for many GPUs."""

    question = "devices"
    measure = "benchmarks.devices.comparison:measure"
    smoke_values = {"batch": 32, "seconds": 1, "rounds": 1}  # noqa: RUF012
    whole_runs: bool = command.flag(
        False, "losses of whole runs instead: --whole-runs --help", action="store_true"
    )
    batch: int = command.flag(256, "images in a step of one device", **command.COUNT)
    seconds: int = command.flag(4, "that each sample trains", **command.COUNT)
    rounds: int = command.flag(3, "of all ways, one after the other", **command.COUNT)


@dataclass(frozen=True, kw_only=True)
class WholeRuns(command.Settings):
    """Losses at the end of the default run, for several numbers of devices and several seeds."""

    question = "devices-whole_runs"
    measure = "benchmarks.devices.whole_runs:measure"
    smoke_values = {"devices": (1, 2), "seeds": 2, "epochs": 1, "train_limit": 160}  # noqa: RUF012
    whole_runs: bool = command.flag(True, "this", action="store_true")
    devices: tuple[int, ...] = command.flag((1, 2, 8), "numbers of devices", **command.COUNTS)
    seeds: int = command.flag(3, "0, 1, ...", **command.COUNT)
    epochs: int = command.flag(5, "of a run", **command.COUNT)
    train_limit: int = command.flag(3600, "training images at most", **command.COUNT)
