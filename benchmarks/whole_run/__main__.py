"""Runs the benchmark: `python -m benchmarks.whole_run --help`."""

from benchmarks.common.command import run
from benchmarks.whole_run import Settings

raise SystemExit(run(Settings))
