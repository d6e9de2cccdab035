"""Runs the benchmark: `python -m benchmarks.scaling --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.scaling.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings))
