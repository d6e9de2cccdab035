"""Runs the benchmark: `python -m benchmarks.quality --help`."""

from benchmarks.common.command import run
from benchmarks.quality import Settings

raise SystemExit(run(Settings))
