import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import peers
from benchmarks.common.command import parse
from benchmarks.common.intervals import Interval, Summary
from benchmarks.common.roofline import Ceilings
from benchmarks.train_step import Settings, report
from benchmarks.train_step.comparison import SUBJECT, VARIANTS, Proof, Result, Row

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the standard output of one smoke run without peers."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [
        sys.executable,
        "-m",
        "benchmarks.train_step",
        "--smoke",
        "--peers",
        "--output-dir",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_smoke_ends_with_one_json_object_and_prints_the_sentence(smoke: tuple[Path, str]):
    folder, output = smoke
    last = json.loads(output.splitlines()[-1])
    assert last["sentence"] in output.splitlines()
    assert [row["variant"] for row in last["rows"]] == ["flaxae fast", "flaxae plain", "flax.linen"]
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in last["rows"])
    assert sorted(folder.iterdir()) == sorted([Path(last["results"]), Path(last["picture"])])
    assert Path(last["picture"]).read_bytes().startswith(b"\x89PNG")


def test_smoke_results_have_every_sample_and_where_they_come_from(smoke: tuple[Path, str]):
    text = Path(json.loads(smoke[1].splitlines()[-1])["results"]).read_text()
    assert str(smoke[0]) not in text  # results are published, folders are not
    report = json.loads(text)
    assert {"kind", "processor", "cores"} <= set(report["device"])
    assert {"commit", "jax", "flax"} <= set(report["software"])
    (row,) = report["rows"]
    assert row["flops"] > 1e8
    assert row["floor_seconds"] == row["flops"] / report["ceilings"]["flops_per_second"]
    for result in row["results"].values():
        assert result["proof"]["steps"] == 20
        assert result["proof"]["difference"] <= 1e-4
        assert len(result["wall_samples"]) == len(result["cpu_samples"]) == 3
        assert np.median(result["wall_samples"]) == pytest.approx(result["wall"]["median"])
        assert result["peak_bytes"] > 2**26
        assert result["faults"] >= 0


def test_missing_peers_are_skipped_by_default_and_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(peers, "installed", lambda peer: peer == "torch")
    assert parse(Settings, []).peers == ("torch",)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("keras not installed; pip install -r benchmarks/requirements.txt")
    assert parse(Settings, ["--peers"]).peers == ()
    assert parse(Settings, ["--peers", "torch"]).peers == ("torch",)
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="2"):
        parse(Settings, ["--peers", "keras", "torch"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "keras not installed; pip install -r benchmarks/requirements.txt" in line


def _row(ratio: float) -> Row:
    times = Summary(0.02 * ratio, 0.01, 0.03, 3)
    proof = Proof(20, 1e-6, True)
    result = Result(
        proof,
        5,
        times,
        times,
        0,
        2**28,
        Interval(ratio, ratio - 0.1, ratio + 0.1, 0.95),
        [],
        [],
        [],
    )
    own = result._replace(wall=times._replace(median=0.02), ratio=Interval(1, 1, 1, 0.95))
    unequal = {"PyTorch": Proof(20, 0.3, False)}
    return Row("convolutional", 256, 4e9, 0.05, {SUBJECT: own, "Keras": result}, unequal)


def test_the_answer_has_each_ratio_and_its_interval():
    rows = [_row(3)._replace(batch_size=32), _row(0.9), _row(2)._replace(batch_size=1024)]
    assert report.answer(rows) == (
        "a training step of the convolutional model with 256 images takes flaxae 20.0 ms; time "
        "relative to flaxae (higher is slower): Keras 0.90 (0.80 to 1.00)"
    )


def test_the_table_lists_variants_that_are_not_timed(capsys):
    report.show([_row(0.9)], Ceilings(1e11, 1e10, 512))
    output = capsys.readouterr().out
    assert "20.0" in output
    assert "18.0 (0.90)" in output
    assert "not timed" in output
    assert "3e-01" in output


def test_variants_have_different_names():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
