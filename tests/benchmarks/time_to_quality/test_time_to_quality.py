"""The benchmark end to end on mnist_5k, its table and its flags."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common import peers
from benchmarks.common.command import parse
from benchmarks.time_to_quality import FORMS, Settings, report
from benchmarks.time_to_quality.race import Result

ROOT = Path(__file__).parents[3]


def test_smoke(tmp_path):
    flags = ["--smoke", "--forms", "flaxae", "original", "linen"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.time_to_quality", *flags, "--output-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    last = json.loads(run.stdout.splitlines()[-1])
    assert last["sentence"] in run.stdout.splitlines()
    assert set(last["table"]) < set(run.stdout.splitlines())
    assert sorted(tmp_path.iterdir()) == sorted([Path(last["results"]), Path(last["picture"])])
    results = json.loads(Path(last["results"]).read_text())["results"]
    assert set(results) == {"flaxae", "original", "linen"}
    for (result,) in results.values():
        assert result["build_seconds"] > 0
        assert result["seconds"] == sorted(result["seconds"])
        assert result["losses"][-1] < result["losses"][0] < 0.8
    # 225 batches of 16 in calls of 9: after the proof, after each quarter, and the whole epoch.
    assert results["flaxae"][0]["images"] == [144, 1008, 1872, 2736, 3600]
    assert results["linen"][0]["images"] == [144, 912, 1808, 2704, 3600]
    assert results["original"][0]["images"] == [1792, 3584]  # 14 batches of 256, calls of 7
    own, peer = results["flaxae"][0]["losses"][0], results["linen"][0]["losses"][0]
    assert abs(own - peer) < 1e-3 * own


def _result(form: str, seed: int, *losses: float) -> Result:
    count = len(losses)
    times = [1.5 * (index + 1) for index in range(count)]
    return Result(form, seed, 10.0, [900 * (i + 1) for i in range(count)], times, list(losses))


_RESULTS = {
    "flaxae": [_result("flaxae", 0, 0.12, 0.1), _result("flaxae", 1, 0.14, 0.13)],
    "keras": [_result("keras", seed, 0.5, 0.1) for seed in range(3)],
}


def test_the_table_has_medians_and_ranges_and_says_never():
    assert report.table(_RESULTS) == [
        "| validation loss | | 0.13 | 0.11 | 0.10 | 0.09 | 0.08 |",
        "|---|---|---|---|---|---|---|",
        "| flaxae | images | 1,350 (900 to 1,800) | - (1,800 to -) | - (1,800 to -) | - | - |",
        "| flaxae | s | 2.25 (1.5 to 3) | - (3 to -) | - (3 to -) | - | - |",
        "| flaxae | s, with compilation | 12.2 (11.5 to 13) | - (13 to -) | - (13 to -) | - | - |",
        "| Keras | images | 1,800 | 1,800 | 1,800 | - | - |",
        "| Keras | s | 3 | 3 | 3 | - | - |",
        "| Keras | s, with compilation | 13 | 13 | 13 | - | - |",
    ]
    assert report.answer(_RESULTS).endswith(
        "in images; s; s, with compilation: flaxae - (1,800 to -), - (3 to -), - (13 to -); "
        "Keras 1,800, 3, 13"
    )


def test_the_picture_has_a_line_for_each_training_and_a_label_for_each_form():
    (axes,) = report.draw(_RESULTS).axes
    labels = [str(line.get_label()) for line in axes.lines]
    assert [label for label in labels if not label.startswith("_")] == ["flaxae", "Keras"]
    assert len(labels) == 5
    assert axes.get_xscale() == "log"


def test_missing_peers_are_skipped_by_default_and_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(peers, "installed", lambda peer: peer == "torch")
    assert parse(Settings, []).forms == ("flaxae", "original", "torch", "torch_1")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("keras not installed; pip install -r benchmarks/requirements.txt")
    smoke = parse(Settings, ["--smoke"])
    assert smoke.forms == ("flaxae", "original", "torch", "torch_1", "linen")
    assert smoke.epochs == 1
    # In the order of the table, in which flaxae comes first.
    assert parse(Settings, ["--forms", "torch", "flaxae"]).forms == ("flaxae", "torch")
    with pytest.raises(SystemExit, match="2"):
        parse(Settings, ["--forms", "flaxae", "keras_xla"])
    assert "--forms: keras not installed; pip" in capsys.readouterr().err
    monkeypatch.setattr(peers, "installed", lambda peer: True)
    assert parse(Settings, []).forms == tuple(FORMS)[:-1]
