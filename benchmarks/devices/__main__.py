"""Runs the benchmark: `python -m benchmarks.devices --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.devices import Settings, WholeRuns

raise SystemExit(run(WholeRuns if "--whole-runs" in sys.argv else Settings))
