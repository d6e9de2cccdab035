"""Runs the benchmark: `python -m benchmarks.layouts --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.layouts.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings))
