"""Runs the benchmark: `python -m benchmarks.report --help`."""

from benchmarks.common.command import run
from benchmarks.report import Settings

raise SystemExit(run(Settings))
