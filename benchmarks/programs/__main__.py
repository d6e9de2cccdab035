"""Runs the benchmark: `python -m benchmarks.programs --help`."""

from benchmarks.common.command import run
from benchmarks.programs import Settings

raise SystemExit(run(Settings))
