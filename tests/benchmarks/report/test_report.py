"""The benchmark of the page, at its smallest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.test_browser import CHROMIUM

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
def test_the_benchmark_looks_at_a_page(tmp_path):
    command = [sys.executable, "-m", "benchmarks.report", "--smoke", "--output-dir", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    row = json.loads(run.stdout.splitlines()[-1])["rows"][0]
    assert (row["page"], row["points"]) == ("flaxae", 300)
    assert 1e5 < row["bytes"] < 2e6
    assert row["runs_under_policy"]
    assert row["hover_ms"] > 0
    assert row["draw_ms"] > 0
