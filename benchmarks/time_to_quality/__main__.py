"""Runs the benchmark: `python -m benchmarks.time_to_quality --help`."""

from benchmarks.common.command import run
from benchmarks.time_to_quality import Settings

raise SystemExit(run(Settings))
