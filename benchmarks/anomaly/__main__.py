"""Runs the benchmark: `python -m benchmarks.anomaly --help`."""

from benchmarks.anomaly import Settings
from benchmarks.common.command import run

raise SystemExit(run(Settings))
