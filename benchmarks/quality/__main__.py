"""Runs the benchmark: `python -m benchmarks.quality --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.quality.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings))
