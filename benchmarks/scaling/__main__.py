"""Time and memory of training against the number of images, their side, and the batch size.

    python -m benchmarks.scaling --smoke

benchmarks/README.md tells how to read what comes out.
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.flags import Parser

_SWEEPS = ("images", "side", "batch")


@dataclass(frozen=True)
class Settings:
    """What to vary and how long to measure; the fields are the flags."""

    sweeps: tuple[str, ...]
    repeats: int
    output_dir: Path
    smoke: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status: 2 for bad input, 1 where it cannot go on."""
    settings = parse(arguments)
    # Imports JAX, which --help and a wrong flag do without.
    from benchmarks.common.workers import WorkerFailed
    from benchmarks.scaling.dataset import NoSpace
    from benchmarks.scaling.sweeps import run_sweeps

    try:
        run_sweeps(settings)
    except (NoSpace, WorkerFailed, OSError) as error:
        print(f"benchmarks.scaling: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, NoSpace) else 1
    except KeyboardInterrupt:
        return 130
    return 0


def parse(arguments: Sequence[str] | None) -> Settings:
    """The settings that the flags ask for; --smoke overrides those that cost time.

    Raises:
        SystemExit: a flag is wrong (2), or --help was asked for (0).
    """
    parser = _parser()
    values: dict[str, Any] = vars(parser.parse_args(arguments))
    if values["smoke"]:
        values["repeats"] = 2
    values["sweeps"] = tuple(dict.fromkeys(values["sweeps"]))
    return Settings(**values)


def _parser() -> Parser:
    parser = Parser(
        "benchmarks.scaling", "Time and memory of training against images, side and batch size."
    )
    parser.add_argument(
        "--sweeps", nargs="+", default=list(_SWEEPS), choices=_SWEEPS, help="what to vary"
    )
    parser.add_common(
        repeats=7,
        repeated="samples of each time",
        smoke="few tiny images, 2 repeats, under half a minute",
    )
    return parser


if __name__ == "__main__":
    # Ended from outside it still deletes its images, up to a gigabyte of them.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
