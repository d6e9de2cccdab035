import json
from dataclasses import replace

import pytest

from flaxae.config import ModelConfig, TrainConfig
from flaxae.errors import InputError, RunError
from flaxae.runs.workdir import (
    append_metrics,
    claim,
    forget_metrics_after,
    read_config,
    read_metrics,
    write_atomically,
)


@pytest.fixture
def config(tmp_path):
    return TrainConfig(workdir=str(tmp_path / "run"))


def test_the_config_comes_back(config):
    with claim(config) as workdir:
        assert read_config(workdir) == config


def test_a_run_may_grow(config):
    with claim(config):
        pass
    with claim(replace(config, epochs=99)) as workdir:
        assert read_config(workdir).epochs == 99


def test_another_run_is_refused_and_left_alone(config):
    with claim(config) as workdir:
        (workdir / "checkpoints/14").mkdir(parents=True)
    other = replace(config, model=ModelConfig("fully_connected"), seed=3)
    expected = (
        r"holds another run: --model convolutional there, fully_connected here; --seed 0 there"
    )
    with pytest.raises(InputError, match=expected), claim(other):
        pass
    assert read_config(workdir) == config


def test_a_run_without_a_checkpoint_gives_its_folder_away(config):
    with claim(config):
        pass
    other = replace(config, seed=3)
    with claim(other) as workdir:
        assert read_config(workdir) == other


def test_a_folder_of_something_else_is_refused(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").touch()
    with pytest.raises(InputError, match="holds files but no run"), claim(config):
        pass
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(config, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match="is a file; give a folder"), claim(config):
        pass


def test_a_place_that_cannot_be_written_is_refused(config):
    with (
        pytest.raises(InputError, match="--workdir /proc/run cannot be written"),
        claim(replace(config, workdir="/proc/run")),
    ):
        pass


def test_two_writers_are_refused(config):
    with (
        claim(config),
        pytest.raises(RunError, match="another process trains in"),
        claim(config),
    ):
        pass
    with claim(config):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no run: there is no config.json; train one with"),
        ("{", "config.json cannot be read"),
        ("[]", "config.json cannot be read"),
        ('{"epochs": 5}', "lacks the fields"),
    ],
)
def test_an_unreadable_config_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(fd):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_past_the_last_checkpoint_are_forgotten(tmp_path):
    for epoch in (1, 2, 3):
        append_metrics(tmp_path, {"epoch": epoch})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "tra')  # cut short by a kill
    assert [r["epoch"] for r in read_metrics(tmp_path)] == [1, 2, 3]
    forget_metrics_after(tmp_path, 2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
