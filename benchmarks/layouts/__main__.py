"""Runs the benchmark: `python -m benchmarks.layouts --help`."""

from benchmarks.common.command import run
from benchmarks.layouts import Settings

raise SystemExit(run(Settings))
