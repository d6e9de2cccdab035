"""Runs the benchmark: `python -m benchmarks.train_step --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.train_step.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings))
