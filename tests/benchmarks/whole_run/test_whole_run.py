"""The benchmark of a run's other costs, end to end on a small dataset."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_smoke(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.whole_run", "--smoke", "--output-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    last = json.loads(run.stdout.splitlines()[-1])
    (results,) = tmp_path.iterdir()
    assert last["results"] == str(results)
    report = json.loads(results.read_text())
    assert [row["epoch"] for row in report["memory"]] == [1, 2]
    assert report["memory"][0]["private_bytes"] < report["memory"][0]["peak_bytes"]
    # Parsing flags needs nothing heavy, and a run needs JAX.
    seconds = last["import_seconds"]
    assert seconds["nothing"] < seconds["--help"] < seconds["jax"] < seconds["train"]
    assert seconds["reconstruct"] < seconds["evaluate"]  # scikit-learn
    assert set(last["first_step_seconds"]) == {"cold", "warm"}
