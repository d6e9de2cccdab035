from types import SimpleNamespace
from unittest.mock import Mock

import jax.numpy as jnp
import pytest

from flaxae.errors import RunError
from flaxae.runs.disk import Disk
from flaxae.training.loop import View


def start(monkeypatch, workdir, free, verbose=True, epochs=10):
    """The start of a run with 8 MB of weights and of optimizer's state each."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    weights = jnp.zeros((2000, 1000))
    state = SimpleNamespace(params={"kernel": weights}, opt_state=(weights,))
    task = SimpleNamespace(epochs=epochs, model=SimpleNamespace(image_shape=(28, 28, 1)))
    Disk(workdir, verbose).on_start(Mock(spec=View, epoch=0, task=task, state=state))


def test_what_a_run_needs_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    start(monkeypatch, tmp_path, free=10**9)
    out = capsys.readouterr().out
    assert out.startswith("disk      about 68.7 MB: ")
    assert "checkpoints 64.4 MB, pictures and events of 10 epochs 4.3 MB" in out
    assert "free" not in out
    assert out.count("\n") == 1


def test_one_epoch_is_said_in_the_singular(tmp_path, monkeypatch, capsys):
    start(monkeypatch, tmp_path, free=10**9, epochs=1)
    assert "pictures and events of 1 epoch " in capsys.readouterr().out


def test_too_little_room_is_said_and_not_refused(tmp_path, monkeypatch, capsys):
    start(monkeypatch, tmp_path, free=20 * 10**6)
    assert capsys.readouterr().out.endswith("; only 20.0 MB are free\n")


def test_without_the_room_for_one_checkpoint_a_run_does_not_start(tmp_path, monkeypatch, capsys):
    with pytest.raises(RunError, match=r"has 9\.0 MB free, and one checkpoint needs 16\.0 MB"):
        start(monkeypatch, tmp_path, free=9 * 10**6, verbose=False)


def test_a_folder_that_was_moved_ends_the_run(tmp_path):
    with pytest.raises(RunError, match="was moved or deleted while its run was training"):
        Disk(tmp_path, verbose=False).on_epoch(Mock(spec=View))
