"""Runs the benchmark: `python -m benchmarks.whole_run --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.whole_run.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings))
