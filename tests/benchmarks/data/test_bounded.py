"""The benchmark of training on more than memory: a smoke run, and its parts alone."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.common import random_images
from benchmarks.common.command import parse, run
from benchmarks.data import Bounded, bounded, limit, limited
from flaxae.errors import InputError, RunError

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@linux
def test_smoke(tmp_path):
    flags = ["--bounded", "--smoke", "--output-dir", str(tmp_path / "results")]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", *flags, "--files-dir", str(tmp_path / "files")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    last = json.loads(run.stdout.splitlines()[-1])
    assert 20 <= last["steps"] < last["steps_per_epoch"]  # no validation
    assert 0 <= last["idle_share"] <= last["waiting_share"] < 1
    assert last["first_opening_seconds"] > 0
    assert last["private_bytes_before_limit"] < last["private_bytes"] / 4
    limited = "without a limit" not in run.stdout
    assert limited == (last["group"] is not None) == (last["limit_bytes"] is not None)
    if limited:
        assert last["private_bytes"] / 2 < next(iter(last["group"].values())) <= 2e9
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["2000x16x16x3.npy"]


def test_a_file_is_written_in_chunks_and_used_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(random_images, "_CHUNK", 1000)
    path = bounded.write(tmp_path / "new", (50, 9, 9, 3))
    images, made = np.load(path, mmap_mode="r"), path.stat().st_mtime_ns
    assert images.shape == (50, 9, 9, 3)
    assert images.std() > 50
    assert bounded.write(tmp_path / "new", (50, 9, 9, 3)).stat().st_mtime_ns == made
    assert capsys.readouterr().out.count("writing") == 1
    monkeypatch.setattr(bounded.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**7))
    with pytest.raises(InputError, match=r"has 0\.01 GB free and the file takes 0\.10; free some"):
        bounded.write(tmp_path / "new", (10**6, 10, 10, 1))


@linux
def test_without_a_group_there_is_one_line_and_no_file(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(limit, "_ROOT", tmp_path / "absent")
    flags = ["--bounded", "--files-dir", str(tmp_path / "files"), "--output-dir", str(tmp_path)]
    assert run(Bounded, flags) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmarks.data-bounded: error: no limit of memory: ")
    assert not (tmp_path / "files").exists()


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_of_either_version_has_the_limit(version: int, monkeypatch, tmp_path):
    monkeypatch.setattr(limit, "_ROOT", tmp_path)
    monkeypatch.setattr(limit, "_delete", lambda folder: None)
    parent = tmp_path / "memory" if version == 1 else tmp_path
    parent.mkdir(exist_ok=True)
    (tmp_path / "cgroup.subtree_control").write_text("cpu")
    with limit.memory_group(12345) as folder:
        assert folder.parent == parent
        written = {path.name: path.read_text() for path in folder.iterdir()}
    v1 = {"memory.limit_in_bytes": "12345", "memory.memsw.limit_in_bytes": "12345"}
    assert written == (v1 if version == 1 else {"memory.max": "12345", "memory.swap.max": "0"})
    enabled = (tmp_path / "cgroup.subtree_control").read_text()
    assert enabled == ("cpu" if version == 1 else "+memory")


def test_usage_is_read_by_the_names_of_the_system(tmp_path):
    (tmp_path / "memory.peak").write_text("77\n")
    (tmp_path / "memory.events").write_text("max 3\noom 0\n")
    found = {"memory.peak": 77, "memory.events max": 3, "memory.events oom": 0}
    assert limit.usage(tmp_path) == found


def test_a_group_that_cannot_be_limited_is_deleted(monkeypatch, tmp_path):
    monkeypatch.setattr(limit, "_ROOT", tmp_path)
    (tmp_path / "memory").mkdir()

    def refuse(path, text):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(limit.Path, "write_text", refuse)
    with pytest.raises(RunError, match="Permission denied"), limit.memory_group(1):
        pass
    assert not list((tmp_path / "memory").iterdir())


def test_more_steps_than_an_epoch_has_are_refused(capsys):
    with pytest.raises(SystemExit):
        parse(Bounded, ["--number", "2000", "--steps", "21", "--batch", "64"])
    assert "--steps got 21; expected at most -27: give more images" in capsys.readouterr().err
    assert parse(Bounded, []).steps == 1000


@linux
def test_waiting_counts_next_and_idle_only_where_the_device_had_finished(monkeypatch):
    now, ready = [0.0], [True]
    monkeypatch.setattr(limited.time, "perf_counter", lambda: now[0])
    watch = limited.Watch(steps=3)

    def make(count):
        for number in range(count):
            now[0] += 2  # reading
            yield number

    def call(step):
        state = SimpleNamespace(step=SimpleNamespace(is_ready=lambda: ready[0]))
        trainer = SimpleNamespace(steps_per_epoch=9, batch_size=4)
        return SimpleNamespace(state=state, step=step, task=SimpleNamespace(trainer=trainer))

    timed = watch.timed(make)
    next(timed(9))  # for compilation
    now[0] += 100
    for step, _ in enumerate(timed(9), 1):
        now[0] += 5  # computing
        stop = watch.on_call(call(step))
        assert stop == (step == 3)
        if stop:
            break
        ready[0] = step == 1  # not after the second
    watch.on_end(call(3))
    assert watch.found["loop_seconds"] == 21
    assert watch.found["waiting_share"] == pytest.approx(6 / 21)
    assert watch.found["idle_share"] == pytest.approx(4 / 21)
    assert watch.found["images_per_second"] == pytest.approx(12 / 21)
