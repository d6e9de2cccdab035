"""Everything that a GPU owes this project, in one command."""

from dataclasses import dataclass

from benchmarks.common import command
from benchmarks.common.command import COUNT, flag, several

PARTS = (
    "environment",
    "steps",
    "steps_bfloat16",
    "epochs",
    "flags",
    "layouts_gpu",
    "layouts_plain",
    "peers",
    "start",
    "training",
)


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Runs each part in a process of its own; each writes its result at once. For a bare machine.

    A part that fails or takes too long is left out, with its reason.
    """

    question = "gpu"
    measure = "benchmarks.gpu.parts:run_parts"
    smoke_values = {}  # noqa: RUF012
    parts: tuple[str, ...] = several(PARTS, "of the measurement")
    seconds: int = flag(480, "for all parts; those that would begin later are left out", **COUNT)
