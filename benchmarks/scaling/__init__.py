"""How do time and memory grow with the images, their side, and the batch size?"""

from dataclasses import dataclass

from benchmarks.common import command


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Time and memory of training against the number of images, their side and the batch size."""

    question = "scaling"
    measure = "benchmarks.scaling.sweeps:run_sweeps"
    smoke_values = {"repeats": 2}  # noqa: RUF012
    sweeps: tuple[str, ...] = command.several(("images", "side", "batch"), "what to vary")
    repeats: int = command.flag(7, "samples of each time", **command.COUNT)
