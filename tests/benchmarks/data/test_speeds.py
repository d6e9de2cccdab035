"""The benchmark of reading and decoding, end to end on few images."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.intervals import summarize
from benchmarks.data import samples, speeds, ways
from flaxae.errors import RunError

ROOT = Path(__file__).parents[3]


def test_smoke(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.data", "--smoke", "--output-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    last = json.loads(run.stdout.splitlines()[-1])
    assert set(last["images_per_second"]) == set(speeds.SHAPES)
    report = json.loads(Path(last["results"]).read_text())
    assert len(report["rows"]) == 27
    assert {"commit", "jax"} <= set(report["software"])
    for row in report["rows"]:
        assert len(row["seconds"]) == len(row["cpu_seconds"]) == 2
        assert row["images_per_second"]["median"] > 0
    (table,) = tmp_path.glob("*-smoke.md")
    assert len(list(tmp_path.glob("*-smoke.png"))) == 1
    assert table.read_text().strip() in run.stdout


def test_every_way_gives_the_images_that_were_written(tmp_path):
    images = samples.smooth_images(1, 28, 1)[:300]  # two batches
    found = ways.make_ways(images, tmp_path, tmp_path / "store")
    for name, way in found.items():
        ways.prove(name, way)
    jpeg = found["store from JPEG"].expected
    assert not np.array_equal(jpeg, images)  # it loses a little
    np.testing.assert_allclose(jpeg.astype(int), images, atol=40)
    lost = found["memory map"]._replace(start=lambda: [images])
    with pytest.raises(RunError, match=r"^memory map: the images differ"):
        ways.prove("memory map", lost)


def test_images_are_different_and_in_color():
    images = samples.smooth_images(1, 16, 3)
    assert images.shape == (1302, 16, 16, 3)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    assert (images[..., 0] != images[..., 1]).any()


def test_ways_take_turns_and_the_time_before_is_left_out(monkeypatch):
    now, calls = [0.0], []

    def step(name, seconds):
        calls.append(name)
        now[0] += seconds
        return [name]

    monkeypatch.setattr(speeds.time, "perf_counter", lambda: now[0])
    turns = {
        name: ways.Way(lambda name=name, took=took: step(name, took), np.zeros(1))
        for name, took in (("a", 1), ("b", 2))
    }
    found = speeds.in_turns(turns, 2, lambda: step("before", 8))
    assert calls == ["before", "a", "before", "b"] * 2
    assert [seconds for seconds, _ in found.values()] == [[1, 1], [2, 2]]


def test_the_table_has_a_line_for_each_way_and_three_digits():
    row = {"way": "memory map", "images_per_second": summarize([1234567.0, 1300000.0])}
    row["cpu_microseconds"] = summarize([0.12345])
    lines = speeds.table([{**row, "shape": shape} for shape in speeds.SHAPES]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    cells = "| 1,270,000 (1,250,000 to 1,280,000) | 0.123 "
    assert lines[2] == f"| memory map {cells * 3}|"
