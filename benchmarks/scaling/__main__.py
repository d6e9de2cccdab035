"""Runs the benchmark: `python -m benchmarks.scaling --help`."""

from benchmarks.common.command import run
from benchmarks.scaling import Settings

raise SystemExit(run(Settings))
