"""Runs the benchmark: `python -m benchmarks.scaling --help`."""

from benchmarks.common.command import main
from benchmarks.scaling.settings import Settings

main(Settings)
