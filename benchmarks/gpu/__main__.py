"""Runs the benchmark: `python -m benchmarks.gpu --help`."""

from benchmarks.common.command import run
from benchmarks.gpu import Settings

raise SystemExit(run(Settings))
