"""A run of flaxae 0.1 (config.json of schema 1) can be evaluated and continued."""

import json
import shutil
from pathlib import Path

import pytest

import flaxae
from flaxae.config.serialization import SCHEMA
from flaxae.runs.workdir import read_config

OLD = Path(__file__).parents[1] / "fixtures/run_schema_1"
# What flaxae 0.1 itself printed for this run, and for its second epoch when it continued.
TEST_LOSS, SECOND_EPOCH = 0.6886790, {"train_loss": 0.6764339, "validation_loss": 0.6639690}


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "datasets"))
    return shutil.copytree(OLD, tmp_path / "run")


def test_a_run_of_the_version_before_is_evaluated(workdir):
    run = flaxae.load(workdir)
    assert run.evaluate("test")["loss"] == pytest.approx(TEST_LOSS, abs=1e-5)
    assert run.class_names[3] == "digit_3"


def test_a_run_of_the_version_before_is_continued(workdir):
    config = flaxae.preset("original", filters=(2, 2), epochs=2, workdir=str(workdir))
    run = flaxae.train(config)
    assert [record["epoch"] for record in run.history] == [1, 2]
    for name, expected in SECOND_EPOCH.items():
        assert run.history[1][name] == pytest.approx(expected, abs=1e-4)
    assert json.loads((workdir / "config.json").read_text())["schema"] == SCHEMA


def test_a_run_of_a_later_version_is_refused_in_one_line(workdir):
    values = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps({"schema": SCHEMA + 1, **values}))
    what = rf"config\.json cannot be read: its schema is {SCHEMA + 1}"
    with pytest.raises(flaxae.InputError, match=what):
        read_config(workdir)


def test_damage_in_a_checkpoint_of_the_version_before_is_named(workdir):
    (workdir / "checkpoints/14/metrics/metrics").write_text("{")
    with pytest.raises(flaxae.InputError, match=r"is whole: 14 \(metrics/metrics has changed\)"):
        flaxae.load(workdir)


def test_a_lost_record_of_the_version_before_is_named(workdir, capsys):
    """Its checkpoints have no copy of metrics.jsonl."""
    (workdir / "metrics.jsonl").write_text('{"epoch": 1, "tra')
    flaxae.train(flaxae.preset("original", filters=(2, 2), epochs=2, workdir=str(workdir)))
    told = capsys.readouterr().err
    assert "line 1 is not the record of an epoch; the record of epoch 1 is lost" in told
