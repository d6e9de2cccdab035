"""How large is the page of a run, how fast does it answer, and can everybody use it?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import command
from benchmarks.common.command import COUNT, COUNTS, flag

_FOLDER: dict[str, Any] = {"type": Path, "metavar": "FOLDER"}


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Size, drawing, hover and accessibility of report.html, in headless Chromium."""

    question = "report"
    measure = "benchmarks.report.pages:measure_pages"
    smoke_values = {"points": (300,), "hovers": 5, "draws": 3, "manual_dir": None}  # noqa: RUF012
    points: tuple[int, ...] = flag((1000, 10_000, 70_000), "points of the maps", **COUNTS)
    hovers: int = flag(200, "hovers that are timed", **COUNT)
    draws: int = flag(40, "drawings of the map that are timed", **COUNT)
    manual_dir: Path | None = flag(None, "of Fashion-MNIST's files (none: mnist_5k)", **_FOLDER)  # noqa: RUF009
    axe_dir: Path | None = flag(None, "of npm's axe-core (none: not checked)", **_FOLDER)  # noqa: RUF009
    files_dir: Path | None = flag(None, "that keeps the pages (none: deleted)", **_FOLDER)  # noqa: RUF009
