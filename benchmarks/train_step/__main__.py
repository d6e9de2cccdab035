"""Runs the benchmark: `python -m benchmarks.train_step --help`."""

from benchmarks.common.command import run
from benchmarks.train_step import Settings

raise SystemExit(run(Settings))
