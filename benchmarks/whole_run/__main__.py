"""Runs the benchmark: `python -m benchmarks.whole_run --help`."""

from benchmarks.common.command import main
from benchmarks.whole_run.settings import Settings

main(Settings)
