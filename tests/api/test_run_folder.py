"""A run whose folder is damaged, full, gone or lost goes on with equal numbers, or says why not."""

import contextlib
import json
import os
import pickle
import shutil
import subprocess
from dataclasses import replace

import jax
import numpy as np
import pytest

import flaxae
from flaxae.runs.metrics_file import MetricsFile
from tests.fixtures.images import synthetic_split

# Orbax leaves coroutines that nobody awaits when it cannot write.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = replace(
    flaxae.preset("original", batch_size=12),
    model=flaxae.FullyConnectedConfig(hidden_units=(4,)),
    epochs=2,
)
IMAGES = synthetic_split(60, 0).images
THREE_EPOCHS = replace(CONFIG, epochs=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of two epochs, three steps each."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    flaxae.train(replace(CONFIG, workdir=str(folder)), IMAGES)
    return folder


@pytest.fixture(scope="module")
def undisturbed():
    """The numbers of three epochs."""
    return timeless(flaxae.train(THREE_EPOCHS, IMAGES).history)


@pytest.fixture
def workdir(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def timeless(history):
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in clock} for record in history]


def train(workdir, config=THREE_EPOCHS, **options):
    return flaxae.train(replace(config, workdir=str(workdir)), IMAGES, **options)


def rows(workdir):
    return timeless(map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines()))


def files(folder):
    return {str(p.relative_to(folder)): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


def damage(folder):
    """Flips a byte in the largest file of a checkpoint."""
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["deleted", "emptied", "one damaged, one without seal"])
def test_a_run_that_has_lost_its_checkpoints_is_refused(workdir, how):
    folder = workdir / "checkpoints"
    if how == "one damaged, one without seal":
        damage(folder / "3")
        (folder / "6/flaxae_sha256.json").unlink()
    else:
        shutil.rmtree(folder)
    if how == "emptied":
        folder.mkdir()
    before = files(workdir)
    with pytest.raises(flaxae.InputError, match=r"has had checkpoints: .*--restart") as refused:
        train(workdir)
    if how == "one damaged, one without seal":
        assert "6 (it has no seal), 3 (" in str(refused.value)
    after = files(workdir)
    for name in ("config.json", "dataset.json", ".lock"):
        before.pop(name), after.pop(name)
    assert after == before


def test_without_metrics_the_loss_of_checkpoints_is_noticed_too(workdir):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "metrics.jsonl").unlink()
    with pytest.raises(flaxae.InputError, match="--restart"):
        train(workdir)


def test_restart_renames_the_earlier_run_and_starts_anew(workdir, undisturbed, capsys):
    shutil.rmtree(workdir / "checkpoints")
    before = files(workdir)
    run = train(workdir, restart=True)
    assert timeless(run.history) == undisturbed
    old = workdir.with_name("run-old-1")
    assert set(files(old)) == set(before)
    assert (old / "metrics.jsonl").read_bytes() == before["metrics.jsonl"]
    assert f"the earlier run is now {old}" in capsys.readouterr().err
    train(workdir, restart=True)
    assert workdir.with_name("run-old-2").is_dir()


def test_restart_of_a_folder_that_is_not_there_just_starts(tmp_path):
    assert len(train(tmp_path / "new", CONFIG, restart=True).history) == 2


def test_a_run_that_never_had_a_checkpoint_starts_again(workdir, undisturbed):
    for path in workdir.iterdir():
        if path.name not in ("config.json", "dataset.json", ".lock"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert timeless(train(workdir).history) == undisturbed


def metrics_lines(text):
    first, second = text.splitlines(keepends=True)
    return {
        "torn": first + second[:40],
        "emptied": "",
        "deleted": None,
        "a row missing": second,
        "a row doubled": first + first + second,
        "not UTF-8": b"\xff\xfe" + text.encode(),
        "other types": '{"epoch": "1"}\n[3]\n' + second,
        "other numbers": text.replace('"step": 6', '"step": 9'),
        "nested": "[" * 100_000 + "\n" + second,
        "huge numbers": '{"epoch": 1' + "0" * 5000 + "}\n" + second,
    }


@pytest.mark.parametrize("how", metrics_lines("1\n2\n"))
def test_damaged_metrics_are_written_again(workdir, undisturbed, how, capsys):
    path = workdir / "metrics.jsonl"
    content = metrics_lines(path.read_text())[how]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert timeless(flaxae.load(workdir, images=IMAGES).history) == undisturbed[:2]
    run = train(workdir)
    assert timeless(run.history) == rows(workdir) == undisturbed
    told = "metrics.jsonl is damaged: " in capsys.readouterr().err
    assert told == (how not in ("emptied", "deleted"))


def test_a_checkpoint_without_its_seal_is_none(workdir, undisturbed, capsys):
    (workdir / "checkpoints/6/flaxae_sha256.json").unlink()
    assert flaxae.load(workdir, "latest").step == 3
    assert "checkpoint 6 is damaged (it has no seal); passed over" in capsys.readouterr().err
    assert timeless(train(workdir).history) == rows(workdir) == undisturbed
    assert (workdir / "checkpoints-damaged/6").is_dir()


@pytest.mark.parametrize("what", ["seed", "images"])
def test_a_checkpoint_of_another_run_is_refused(workdir, tmp_path, what):
    other = replace(CONFIG, seed=5) if what == "seed" else CONFIG
    config = replace(other, workdir=str(tmp_path / "other"))
    flaxae.train(config, IMAGES if what == "seed" else IMAGES[::-1])
    shutil.rmtree(workdir / "checkpoints/6")
    shutil.copytree(tmp_path / "other/checkpoints/6", workdir / "checkpoints/6")
    expected = "the checkpoint of step 6 is of another run: .*" + (
        "--seed 5 there, 0 here" if what == "seed" else "images of sha256"
    )
    with pytest.raises(flaxae.InputError, match=expected):
        train(workdir)
    with pytest.raises(flaxae.InputError, match=expected):
        flaxae.load(workdir, "latest")


def test_a_reader_says_which_checkpoints_are_damaged_and_changes_nothing(workdir):
    for step in ("3", "6"):
        damage(workdir / "checkpoints" / step)
    before = files(workdir)
    with pytest.raises(flaxae.InputError, match=r"is whole: 6 \(.* has changed\), 3 \("):
        flaxae.load(workdir)
    assert files(workdir) == before


def test_a_reader_of_an_unfinished_run_writes_nothing(workdir):
    for path in workdir.iterdir():
        if path.name not in ("config.json", "dataset.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(flaxae.InputError, match="holds no checkpoint yet; train for an epoch"):
        flaxae.load(workdir)
    assert set(files(workdir)) == {"config.json", "dataset.json"}


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_damaged_picture_is_left_out_of_the_animation(workdir, content, capsys):
    path = workdir / "reconstructions/epoch_0001.png"
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    train(workdir)
    assert f"{path} cannot be read" in capsys.readouterr().err
    assert (workdir / "reconstructions/animation.webp").exists()


def test_nothing_in_a_run_s_folder_is_unpickled(workdir, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something is unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    flaxae.load(workdir).encode(IMAGES[:3])
    train(workdir)


class At:
    """Does something after an epoch, or a call."""

    def __init__(self, event, number, action):
        self._number, self._action = number, action
        setattr(self, event, self._look)

    def _look(self, view):
        if (view.epoch if hasattr(self, "on_epoch") else view.step) == self._number:
            self._action()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk):
    with open(disk / "filler", "ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_waited_out(small_disk, capsys):
    config = replace(THREE_EPOCHS, epochs=5)
    filler = small_disk / "filler"
    callbacks = [
        At("on_epoch", 1, lambda: fill(small_disk)),
        # A save that was under way fails, and gives its room back.
        At("on_epoch", 2, lambda: fill(small_disk)),
        At("on_call", 9, lambda: fill(small_disk)),
        At("on_epoch", 4, filler.unlink),
    ]
    run = train(small_disk / "run", config, callbacks=callbacks)
    assert timeless(run.history) == rows(run.workdir)
    assert timeless(run.history) == timeless(flaxae.train(config, IMAGES).history)
    told = capsys.readouterr().err
    assert "the checkpoint of step 9 cannot be written" in told
    assert "the disk or the quota is full" in told
    assert "the picture of epoch 3 cannot be written" in told
    assert "events of epoch 3 cannot be written" in told


def test_a_disk_that_stays_full_ends_the_run_with_its_last_step(small_disk):
    callback = At("on_epoch", 2, lambda: fill(small_disk))
    expected = r"step 15 cannot be written to .*/checkpoints: the disk.* is full.*; step \d is safe"
    with pytest.raises(flaxae.RunError, match=expected):
        train(small_disk / "run", replace(CONFIG, epochs=5), callbacks=[callback])
    (small_disk / "filler").unlink()
    assert len(train(small_disk / "run", replace(CONFIG, epochs=5)).history) == 5


def test_the_time_without_a_checkpoint_has_a_limit(small_disk):
    callback = At("on_epoch", 1, lambda: fill(small_disk))
    config = replace(CONFIG, epochs=500, full_disk_minutes=0.0)
    with pytest.raises(flaxae.RunError, match=r"nothing could be saved for 0 minutes: .*step \d+"):
        train(small_disk / "run", config, callbacks=[callback])


def test_checkpoints_that_are_taken_away_end_the_run(tmp_path):
    folder = tmp_path / "run/checkpoints"
    callback = At("on_epoch", 2, lambda: folder.rename(tmp_path / "elsewhere"))
    with pytest.raises(flaxae.RunError, match=r"moved or deleted|No such file") as error:
        train(tmp_path / "run", replace(CONFIG, epochs=500), callbacks=[callback])
    assert "safe" in str(error.value)


def test_checkpoints_that_become_read_only_end_the_run(small_disk, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    (tmp_path / "run/checkpoints").symlink_to(small_disk)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    callback = At("on_epoch", 2, lambda: subprocess.run(remount, check=False))
    with pytest.raises(flaxae.RunError, match=r"checkpoints.*[rR]ead-only.*; step \d is safe"):
        train(tmp_path / "run", replace(CONFIG, epochs=500), callbacks=[callback])


def test_a_folder_that_cannot_be_written_is_known_at_the_start(workdir):
    shutil.rmtree(workdir / "checkpoints")
    for name in (".has-saved", "metrics.jsonl"):
        (workdir / name).unlink()
    (workdir / "checkpoints").touch()  # which root, too, can make no folder of
    with pytest.raises(
        flaxae.RunError, match=r"checkpoints cannot be written: .*; no step is safe"
    ):
        train(workdir)


def test_a_checkpoint_is_whole_before_its_row_is_there(tmp_path, monkeypatch):
    """So that a kill at any moment leaves a checkpoint for each row."""
    seen = []
    write = MetricsFile.write

    def look(self, history):
        sealed = len(list((tmp_path / "run/checkpoints").glob("[0-9]*/flaxae_sha256.json")))
        seen.append((len(history), sealed))
        write(self, history)

    monkeypatch.setattr(MetricsFile, "write", look)
    train(tmp_path / "run")
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_weights_after_damage_are_the_same_to_the_bit(workdir, tmp_path):
    damage(workdir / "checkpoints/6")
    runs = train(workdir), train(tmp_path / "whole")
    for a, b in zip(*(jax.tree.leaves(run.variables) for run in runs), strict=True):
        np.testing.assert_array_equal(a, b)
