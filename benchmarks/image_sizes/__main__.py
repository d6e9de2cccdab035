"""Runs the benchmark: `python -m benchmarks.image_sizes --help`."""

from benchmarks.common.command import run
from benchmarks.image_sizes import Settings

raise SystemExit(run(Settings))
