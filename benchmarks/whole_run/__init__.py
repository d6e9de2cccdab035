"""What do imports, start-up and memory of a training run cost?"""

from dataclasses import dataclass

from benchmarks.common import command


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """The cost of a training run besides its steps: imports, start-up, memory."""

    question = "whole_run"
    measure = "benchmarks.whole_run.costs:measure_costs"
    smoke_values = {"repeats": 1, "epochs": 2}  # noqa: RUF012
    epochs: int = command.flag(50, "of the run whose memory is read", **command.COUNT)
    repeats: int = command.flag(5, "of imports and starts", **command.COUNT)
