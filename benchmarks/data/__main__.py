"""Runs the benchmark: `python -m benchmarks.data --help`."""

import sys

from benchmarks.common.command import run
from benchmarks.data import Bounded, Settings

raise SystemExit(run(Bounded if "--bounded" in sys.argv else Settings))
