"""Runs the benchmark: `python -m benchmarks.layouts --help`."""

from benchmarks.common.command import main
from benchmarks.layouts.settings import Settings

main(Settings)
