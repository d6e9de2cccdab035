"""Runs the benchmark: `python -m benchmarks.train_step --help`."""

from benchmarks.common.command import main
from benchmarks.train_step.settings import Settings

main(Settings)
