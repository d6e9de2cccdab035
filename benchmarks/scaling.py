"""Time and memory of training against the number of images, their side, and the batch size.

    python benchmarks/scaling.py --smoke

benchmarks/README.md tells how to read what comes out.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# Run as a script, Python looks beside this file; what is imported lies one folder above.
_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

_RESULTS = _ROOT / "benchmarks" / "results"
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
    from benchmarks.scaling_data import NoSpace
    from benchmarks.scaling_sweeps import run_sweeps
    from benchmarks.workers import WorkerFailed

    try:
        run_sweeps(settings)
    except (NoSpace, WorkerFailed, OSError) as error:
        print(f"scaling.py: error: {error}", file=sys.stderr)
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
    folder = values["output_dir"]
    if folder.exists() and not folder.is_dir():
        parser.error(f"--output-dir {folder} is a file; give a folder")
    values["sweeps"] = tuple(dict.fromkeys(values["sweeps"]))
    return Settings(**values)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage that argparse puts before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        description="Time and memory of training against images, side and batch size.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--sweeps", nargs="+", default=list(_SWEEPS), choices=_SWEEPS, help="what to vary"
    )
    parser.add_argument(
        "--repeats", type=_count, default=7, metavar="N", help="samples of each time"
    )
    parser.add_argument(
        "--output-dir", type=Path, default=_RESULTS, metavar="FOLDER", help="for JSON and PNG"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="few tiny images, 2 repeats, under half a minute"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a whole number from 1")
    return int(text)


if __name__ == "__main__":
    # Ended from outside it still deletes its images, up to a gigabyte of them.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main())
