"""Runs the benchmark: `python -m benchmarks.devices --help`."""

from benchmarks.common.command import run
from benchmarks.devices import Settings

raise SystemExit(run(Settings))
