"""Runs the benchmark: `python -m benchmarks.quality --help`."""

from benchmarks.common.command import main
from benchmarks.quality.settings import Settings

main(Settings)
