import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.devices.paper import Cluster, all_reduce_seconds, estimate, step_seconds

ROOT = Path(__file__).parents[3]


def test_the_cost_of_an_all_reduce():
    eight = Cluster("", 8, bytes_per_second=1e6, latency=1.0, kernel=0.5)
    # Three levels up and down, and 2 * 7 / 8 of the bytes.
    assert all_reduce_seconds(eight, 8_000_000) == pytest.approx(0.5 + 6 + 14)


def test_the_batch_that_reaches_ninety_percent():
    slow = Cluster("slow", 64, bytes_per_second=1e9, latency=1e-3)
    found = estimate(slow, 31_492)
    seconds = found["all_reduce_microseconds"] / 1e6
    step = step_seconds(found["batch_for_90_percent"])
    assert step / (step + seconds) == pytest.approx(0.9, abs=1e-3)
    assert found["efficiency"] < 0.9


def test_smoke(tmp_path):
    command = ["-m", "benchmarks.devices", "--smoke", "--output-dir", str(tmp_path)]
    run = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    last = json.loads(run.stdout.splitlines()[-1])
    assert all(rate > 0 for rate in last["images_per_second"].values())
    losses = json.loads(Path(last["results"]).read_text())["first_losses"]
    assert set(losses) == {"1 x 1, strong", "2 x 1, strong"}


def test_smoke_of_whole_runs(tmp_path):
    command = ["-m", "benchmarks.devices", "--whole-runs", "--smoke", "--output-dir", str(tmp_path)]
    run = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    last = json.loads(run.stdout.splitlines()[-1])
    counts = {count: len(runs) for count, runs in last["validation_losses"].items()}
    assert counts == {"1": 2, "2": 2}
    assert last["first"] < 1e-3 < last["seeds_differ"]


def test_the_table_of_whole_runs_is_that_of_the_results():
    report = json.loads((ROOT / "benchmarks/results/devices-whole_runs-cpu.json").read_text())
    text = (ROOT / "benchmarks/README.md").read_text()
    for devices, runs in report["validation_losses"].items():
        ends = [run[-1] for run in runs]
        cells = [f"{value:.4f}" for value in (*ends, sum(ends) / len(ends))]
        assert f"| {devices} | {' | '.join(cells)} |" in text
    late, seeds = report["last"], report["seeds_differ"]
    assert f"by at most {late:.4f}; the seeds differ by {seeds:.4f}" in text
