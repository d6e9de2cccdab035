import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.common.command import parse, run
from benchmarks.common.figure import to_png
from benchmarks.common.workers import WorkerFailed
from benchmarks.scaling import Settings, dataset, report, sweeps
from benchmarks.scaling.growth import (
    FULL,
    MEMORY,
    QUANTITIES,
    SMOKE,
    Point,
    Row,
    Slope,
    median_seconds,
    slopes_of,
)

_ROOT = Path(__file__).parents[3]
_STEP = next(quantity for quantity in QUANTITIES if quantity.key == "step_seconds")
_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> SimpleNamespace:
    """One smoke run with a folder of its own for temporary files."""
    folder, scratch = (tmp_path_factory.mktemp(name) for name in ("smoke", "scratch"))
    command = [sys.executable, "-m", "benchmarks.scaling", "--smoke", "--output-dir", str(folder)]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, output=done.stdout, scratch=scratch)


def test_smoke_ends_with_one_json_object_and_prints_the_sentence(smoke):
    last = json.loads(smoke.output.splitlines()[-1])
    assert last["sentence"] in smoke.output.splitlines()
    assert {slope["sweep"] for slope in last["slopes"]} == {"images", "side", "batch"}
    expected = {s["sweep"]: s["expected"] for s in last["slopes"] if s["quantity"] == _STEP.key}
    assert expected == {"images": 0, "side": 2, "batch": 1}
    assert sorted(smoke.folder.iterdir()) == sorted([Path(last["results"]), Path(last["picture"])])
    assert Path(last["picture"]).read_bytes().startswith(b"\x89PNG")


def test_smoke_results_have_every_sample_and_where_they_come_from(smoke):
    text = Path(json.loads(smoke.output.splitlines()[-1])["results"]).read_text()
    assert str(smoke.folder) not in text  # results are published, folders are not
    report = json.loads(text)
    assert {"kind", "processor", "cores"} <= set(report["device"])
    assert {"commit", "jax", "flax"} <= set(report["software"])
    assert report["not_measured"] == []
    assert len(report["rows"]) == 4  # the point that all sweeps share is measured once
    for row in report["rows"]:
        assert {key: len(values) for key, values in row["samples"].items()} == {
            "open_seconds": 2,
            "compile_seconds": 1,
            "shuffle_seconds": 2,
            "pick_seconds": 2,
            "step_seconds": 2,
        }
        assert np.median(row["samples"]["step_seconds"]) == row["values"]["step_seconds"]
        assert row["steps_per_epoch"] == row["point"]["images"] // row["point"]["batch"]
        assert row["values"]["peak_bytes"] > 2**26


@_linux
def test_smoke_maps_the_images_and_nothing_else(smoke):
    report = json.loads(next(smoke.folder.glob("*.json")).read_text())
    for row in report["rows"]:
        pixels = row["point"]["images"] * row["point"]["side"] ** 2
        assert pixels <= row["values"]["mapped_bytes"] <= pixels + 2 * 4096


def test_smoke_deletes_its_images(smoke):
    assert not list(smoke.scratch.glob("flaxae-scaling-*"))


def test_every_sweep_can_be_chosen():
    assert parse(Settings, []).sweeps == tuple(FULL.values) == tuple(SMOKE.values)
    assert parse(Settings, ["--sweeps", "side", "side"]).sweeps == ("side",)


def test_a_full_disk_is_reported_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        dataset.shutil, "disk_usage", lambda folder: SimpleNamespace(free=5 * 10**8)
    )
    assert run(Settings, ["--sweeps", "images", "--output-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert re.search(r"has 0\.50 GB free and the largest dataset takes 0\.86", line)
    assert captured.out == ""


def test_points_with_one_dataset_are_measured_one_after_the_other(monkeypatch):
    written = []

    def ask(measure, file: Path, point: Point, filters, repeats: int):
        written.append((file, point))
        raise WorkerFailed("no")

    monkeypatch.setattr(sweeps, "in_process", ask)
    chosen = SMOKE.all_points(list(SMOKE.values))
    assert len(list(sweeps.measurements(chosen, SMOKE, 2))) == len(chosen) == 4
    assert len({file for file, _ in written}) == 3
    assert not any(file.parent.exists() for file, _ in written)
    every = [point[:2] for point in FULL.all_points(list(FULL.values))]
    assert len(list(itertools.groupby(every))) == len(set(every)) == 8


def test_a_point_that_fails_is_reported_and_the_others_are_measured(monkeypatch, capsys, tmp_path):
    def ask(measure, file: Path, point: Point, filters, repeats: int):
        if point == SMOKE.default._replace(batch=64):
            raise WorkerFailed("process ended with status -9: nothing on standard error")
        return _reply(point)

    monkeypatch.setattr(sweeps, "in_process", ask)
    flags = ["--smoke", "--sweeps", "batch", "images", "--output-dir", str(tmp_path)]
    assert run(Settings, flags) == 0
    line = "not measured: 256 images of 8 x 8, batch 64: process ended with status -9"
    assert line in capsys.readouterr().out
    report = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert report["not_measured"][0]["batch"] == 64
    slopes = {(s["sweep"], s["quantity"]): s["measured"] for s in report["slopes"]}
    assert slopes["batch", "step_seconds"] is None
    assert slopes["images", "shuffle_seconds"] == pytest.approx(1)


def test_where_every_point_fails_there_is_no_result(monkeypatch, capsys, tmp_path):
    def ask(*_):
        raise WorkerFailed("process: no such thing")

    monkeypatch.setattr(sweeps, "in_process", ask)
    assert run(Settings, ["--smoke", "--output-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "benchmarks.scaling: error: process: no such thing\n"
    assert not list(tmp_path.iterdir())


def test_an_epoch_is_its_shuffling_and_its_steps():
    _, row = _reply(Point(1000, 28, 100))
    assert row.values["epoch_seconds"] == pytest.approx(1000 * 1e-6 + 10 * 0.02)


def test_the_answer_has_each_slope_and_the_expected_one():
    slopes = [
        Slope("images", "step_seconds", -0.001, 0),
        Slope("images", "epoch_seconds", 0.98, 1),
        Slope("side", "step_seconds", 2.304, 2),
        Slope("batch", "step_seconds", None, 1),
    ]
    assert report.answer(slopes) == (
        "the time of a training step grows with the number of images to the power 0.00 (expected "
        "0), the side of an image to the power 2.30 (expected 2), the batch size to the power - "
        "(expected 1)"
    )


def test_tables_have_amounts_in_their_units_and_slopes(capsys):
    rows = [_row(point) for point in FULL.points("batch")]
    slopes = slopes_of({"batch": rows})
    report.show({"batch": rows}, slopes)
    lines = capsys.readouterr().out.splitlines()
    (step,) = (line.split() for line in lines if line.startswith("step"))
    assert step == ["step,", "ms", "1.6", "6.4", "25.6", "102", "410", "1.00", "1"]
    (peak,) = (line.split() for line in lines if line.startswith("peak"))
    assert peak[-2:] == ["0.00", "-"]
    assert not any(line.startswith("shuffling") for line in lines)


def test_dashed_lines_have_the_expected_slope_and_end_at_the_last_point():
    axes = Figure().subplots()
    sides = np.array(FULL.values["side"])
    rows = [_row(p, step_seconds=1e-3 * p.side**3) for p in FULL.points("side")]
    (slope,) = (each for each in slopes_of({"side": rows}) if each.quantity == _STEP.key)
    report.draw_curve(axes, rows, _STEP, slope, 1e-3, "black")
    measured, dashed = (np.asarray(line.get_ydata(), float) for line in axes.lines)
    np.testing.assert_allclose(measured, sides**3)
    np.testing.assert_allclose(dashed, 256 * sides**2)
    assert axes.lines[0].get_label() == "step: 3.00 (2)"


def test_a_picture_is_drawn_of_rows_with_gaps():
    rows = [_row(point, step_bytes=None, order_bytes=0) for point in FULL.points("images")]
    gaps = {"images": rows, "batch": []}
    picture = to_png(report.draw(gaps, slopes_of(gaps)), "Growth", "Yes.")
    assert picture.startswith(b"\x89PNG")


def _row(point: Point, **others: float | None) -> Row:
    """A row whose steps take a tenth of a millisecond an image, and everything else a second."""
    values: dict[str, float | None] = {quantity.key: 1.0 for quantity in QUANTITIES}
    values |= {"step_seconds": 1e-4 * point.batch}
    return Row(point, point.images // point.batch, 32, values | others, {})


def _reply(point: Point) -> tuple[dict, Row]:
    """What a process could measure: shuffling takes a microsecond an image, a step 20 ms."""
    samples = {f"{name}_seconds": [0.01] for name in ("open", "compile", "pick")}
    samples |= {"shuffle_seconds": [1e-6 * point.images], "step_seconds": [0.01, 0.02, 0.3]}
    steps = point.images // point.batch
    memory = {quantity.key: 2**20 for quantity in MEMORY}
    device = {"runtime": "cpu", "kind": "cpu", "cores": 2, "processor": "Great CPU"}
    return device, Row(point, steps, 32, {**median_seconds(samples, steps), **memory}, samples)
