import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.common import memory as resident_memory
from benchmarks.common.memory import mapped_of, private_growth
from benchmarks.common.workers import WorkerFailed
from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling import dataset as scaling_data
from benchmarks.scaling import figure as scaling_figure
from benchmarks.scaling import point as scaling_point
from benchmarks.scaling import report as scaling_report
from benchmarks.scaling import sweeps as scaling_sweeps
from benchmarks.scaling.rows import (
    FULL,
    MEMORY,
    QUANTITIES,
    SMOKE,
    TIMES,
    Point,
    Row,
    Slope,
    fit_slope,
    points_of,
    rows_of,
    slope_of,
)
from flaxae.config import DataConfig
from flaxae.data import store
from flaxae.training.epoch import EpochSums

_ROOT = Path(__file__).parents[3]
_SCRIPT = Path(scaling.__file__)
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


def test_smoke_ends_with_one_json_object_and_says_the_sentence(smoke):
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


# The command


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--repeats", "0"], "--repeats"),
        (["--sweeps", "depth"], "--sweeps"),
        (["--sweeps"], "--sweeps"),
        (["--output-dir", str(_SCRIPT)], "--output-dir"),
        (["--rep", "3"], "--rep"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(flags: list[str], named: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        scaling.parse(flags)
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_every_sweep_can_be_asked_for():
    assert scaling.parse([]).sweeps == tuple(FULL.values) == tuple(SMOKE.values)
    assert scaling.parse(["--sweeps", "side", "side"]).sweeps == ("side",)


def test_a_full_disk_is_told_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        scaling_data.shutil, "disk_usage", lambda folder: SimpleNamespace(free=5 * 10**8)
    )
    assert scaling.main(["--sweeps", "images", "--output-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert re.search(r"has 0\.50 GB free and the largest dataset takes 0\.87", line)
    assert captured.out == ""


# Slopes


@pytest.mark.parametrize("power", [-1, 0, 0.5, 1, 2])
def test_the_slope_of_a_power_is_its_exponent(power: float):
    points = [(x, 3.7 * x**power) for x in (5, 28, 64, 4096)]
    assert fit_slope(points) == pytest.approx(power)


def test_a_slope_is_of_the_largest_points_by_least_squares():
    # What costs the same at any size hides the slope where sizes are small.
    assert fit_slope([(1, 900), (10, 900), (100, 1e4), (1000, 1e5), (10000, 1e6)]) == pytest.approx(
        1
    )
    assert fit_slope([(1, 1), (10, 100), (100, 100)]) == pytest.approx(1)


def test_there_is_no_slope_of_one_point_or_of_nothing():
    assert fit_slope([(5, 5)]) is None
    assert fit_slope([]) is None
    rows = [_row(point, step_seconds=None) for point in points_of(FULL, "side")]
    assert slope_of(rows, "side", _STEP) == Slope("side", "step_seconds", None, 2)


def test_every_sweep_has_expected_slopes_of_time_and_memory():
    for sweep in FULL.values:
        for quantities in (TIMES, MEMORY):
            assert any(quantity.expected.get(sweep) is not None for quantity in quantities)
    assert all(set(quantity.expected) <= set(Point._fields) for quantity in QUANTITIES)
    assert len({quantity.key for quantity in QUANTITIES}) == len(QUANTITIES)


@pytest.mark.parametrize(("micro_batch", "batch", "side"), [(32, 0, None), (None, 1, 2)])
def test_micro_batches_bound_the_memory_of_a_step(
    micro_batch: int | None, batch: int, side: int | None
):
    own = next(quantity for quantity in MEMORY if quantity.key == "step_bytes")
    rows = [_row(point)._replace(micro_batch=micro_batch) for point in points_of(FULL, "batch")]
    assert slope_of(rows, "batch", own).expected == batch
    assert slope_of(rows, "side", own).expected == side


# The sweeps


def test_a_sweep_varies_one_quantity_through_the_default():
    for plan in (FULL, SMOKE):
        for sweep in plan.values:
            found = points_of(plan, sweep)
            assert plan.default in found
            assert [getattr(point, sweep) for point in found] == sorted(plan.values[sweep])
            others = {point._replace(**{sweep: 0}) for point in found}
            assert len(others) == 1
    assert FULL.values["images"][-1] == 10**6


def test_points_with_one_dataset_are_measured_one_after_the_other(monkeypatch):
    written = []

    def ask(folder: Path, point: Point, plan, repeats: int):
        written.append((folder, point))
        raise WorkerFailed("no")

    monkeypatch.setattr(scaling_sweeps, "ask_worker", ask)
    chosen = scaling_sweeps.points(SMOKE, ["batch", "side", "images"])
    assert len(list(scaling_sweeps.replies(chosen, SMOKE, 2))) == len(chosen) == 4
    assert len({folder for folder, _ in written}) == 3
    assert not any(folder.exists() for folder, _ in written)
    every = [point[:2] for point in scaling_sweeps.points(FULL, ["batch", "side", "images"])]
    assert len(list(itertools.groupby(every))) == len(set(every)) == 8


def test_a_point_that_fails_is_told_and_the_others_go_on(monkeypatch, capsys, tmp_path):
    def ask(folder: Path, point: Point, plan, repeats: int):
        if point == SMOKE.default._replace(batch=64):
            raise WorkerFailed("process ended with status -9: nothing on standard error")
        return _reply(point)

    monkeypatch.setattr(scaling_sweeps, "ask_worker", ask)
    flags = ["--smoke", "--sweeps", "batch", "images", "--output-dir", str(tmp_path)]
    assert scaling.main(flags) == 0
    told = "not measured: 256 images of 8 x 8, batch 64: process ended with status -9"
    assert told in capsys.readouterr().out
    report = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert report["not_measured"][0]["batch"] == 64
    slopes = {(s["sweep"], s["quantity"]): s["measured"] for s in report["slopes"]}
    assert slopes["batch", "step_seconds"] is None
    assert slopes["images", "shuffle_seconds"] == pytest.approx(1)


def test_where_every_point_fails_there_is_no_result(monkeypatch, capsys, tmp_path):
    def ask(*_):
        raise WorkerFailed("process: no such thing")

    monkeypatch.setattr(scaling_sweeps, "ask_worker", ask)
    assert scaling.main(["--smoke", "--output-dir", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "benchmarks.scaling: error: process: no such thing\n"
    assert not list(tmp_path.iterdir())


def test_an_epoch_is_its_shuffling_and_its_steps():
    row = scaling_sweeps.to_row(Point(1000, 28, 100), _reply(Point(1000, 28, 100)))
    assert row.values["epoch_seconds"] == pytest.approx(1000 * 1e-6 + 10 * 0.02)


# The data and the point


def test_the_images_are_those_that_flaxae_opens_without_decoding(tmp_path):
    scaling_data.write(tmp_path, 23, 9)
    splits = store.load(DataConfig(dataset=scaling_data.NAME, data_dir=str(tmp_path)))
    images = splits["train"].images
    assert isinstance(images, np.memmap)
    assert images.shape == (23, 9, 9, 1)
    assert images.filename == scaling_data.images_path(tmp_path)
    assert images.std() > 50
    assert splits["train"].labels is not None
    size = sum(file.stat().st_size for file in tmp_path.rglob("*.npy"))
    assert size - 6 * 128 <= scaling_data.dataset_bytes(23, 9)  # 128 bytes of header each


def test_images_are_written_whole_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling_data, "_CHUNK", 1000)
    scaling_data.write(tmp_path, 50, 9)
    assert np.load(scaling_data.images_path(tmp_path)).shape == (50, 9, 9, 1)


def test_a_process_refuses_another_dataset_and_says_why(tmp_path):
    scaling_data.write(tmp_path, 23, 9)
    with pytest.raises(WorkerFailed, match=r"^process: ValueError: .* \(23, 9, 9, 1\)$"):
        scaling_sweeps.ask_worker(tmp_path, Point(24, 9, 8), SMOKE, 1)


_STATE: Any = 0.0  # an array to wait for


class _Trainer:
    """Shuffles for 7 seconds, and takes 2 for a call of 3 steps, 5 calls an epoch."""

    def __init__(self) -> None:
        self.now, self.epochs = 0.0, []

    def run_epoch(self, state, epoch, sums, on_call, stop):
        self.now += 7
        self.epochs.append(epoch)
        for _ in range(5):
            if stop():
                break
            self.now += 2
            sums = EpochSums(steps=sums.steps + 3)
        return state, sums


@pytest.mark.parametrize(("calls", "steps"), [(1, 3), (4, 12), (9, 15)])
def test_a_burst_is_some_calls_without_the_shuffling(calls: int, steps: int, monkeypatch):
    trainer: Any = _Trainer()
    monkeypatch.setattr(scaling_point.time, "perf_counter", lambda: trainer.now)
    _, seconds = scaling_point.burst(trainer, _STATE, 1, calls)
    assert trainer.now == 7 + 2 * steps / 3
    assert seconds == pytest.approx(2 / 3)


def test_bursts_end_when_they_have_taken_long_enough(monkeypatch):
    trainer: Any = _Trainer()
    monkeypatch.setattr(scaling_point.time, "perf_counter", lambda: trainer.now)
    assert scaling_point.bursts(trainer, _STATE, repeats=50) == pytest.approx([2 / 3] * 3)
    assert scaling_point.bursts(trainer, _STATE, repeats=2) == pytest.approx([2 / 3] * 2)
    assert len(set(trainer.epochs[:5])) == 5  # no burst sees the order of another


# Memory


@_linux
def test_growth_is_the_most_that_was_held_above_what_was_there():
    before = np.ones(2**23)  # 64 MiB, which is none of its business
    np.ones(2**25)  # nor what was held at a time before

    def work() -> str:
        np.ones(2**22)  # 32 MiB, given back at once
        return "done"

    result, growth = private_growth(work)
    assert result == "done"
    assert growth == pytest.approx(2**25, abs=2**22)
    assert before[0] == 1


def test_where_the_system_tells_nothing_memory_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(resident_memory, "_PROCESS", tmp_path)
    assert mapped_of(tmp_path) is None
    monkeypatch.setattr(resident_memory, "_PROCESS", tmp_path / "absent")
    assert private_growth(lambda: 7) == (7, None)


@_linux
def test_pages_of_a_file_are_counted_once_they_are_touched(tmp_path):
    file = tmp_path / "pages"
    file.write_bytes(bytes(2**22))
    pages = np.memmap(file, np.uint8, "r")
    assert mapped_of(file) == 0
    assert pages.sum() == 0
    assert mapped_of(file) == 2**22
    assert mapped_of(tmp_path / "ages") == 0


# The report


def test_the_sentence_tells_each_slope_and_the_expected_one():
    slopes = [
        Slope("images", "step_seconds", -0.001, 0),
        Slope("images", "epoch_seconds", 0.98, 1),
        Slope("side", "step_seconds", 2.304, 2),
        Slope("batch", "step_seconds", None, 1),
    ]
    device = {"runtime": "cuda", "kind": "Great GPU"}
    assert scaling_report.answer(slopes, device, smoke=False) == (
        "On this Great GPU, the time of a training step grows with the number of images to the "
        "power 0.00 (expected 0), the side of an image to the power 2.30 (expected 2), the batch "
        "size to the power - (expected 1)."
    )


def test_tables_have_amounts_in_their_units_and_slopes(capsys):
    rows = [_row(point) for point in points_of(FULL, "batch")]
    slopes = scaling_sweeps.slopes_of({"batch": rows})
    scaling_report.show({"batch": rows}, slopes)
    lines = capsys.readouterr().out.splitlines()
    (step,) = (line.split() for line in lines if line.startswith("step"))
    assert step == ["step,", "ms", "1.6", "6.4", "25.6", "102", "410", "1.00", "1"]
    (peak,) = (line.split() for line in lines if line.startswith("peak"))
    assert peak[-2:] == ["0.00", "-"]
    assert not any(line.startswith("shuffling") for line in lines)


def test_dashed_lines_have_the_expected_slope_and_end_at_the_last_point():
    axes = Figure().subplots()
    sides = np.array(FULL.values["side"])
    rows = [_row(p, step_seconds=1e-3 * p.side**3) for p in points_of(FULL, "side")]
    scaling_figure._draw_curve(axes, rows, _STEP, slope_of(rows, "side", _STEP), 1e-3, "black")
    measured, dashed = (np.asarray(line.get_ydata(), float) for line in axes.lines)
    np.testing.assert_allclose(measured, sides**3)
    np.testing.assert_allclose(dashed, 256 * sides**2)
    assert axes.lines[0].get_label() == "step: 3.00 (2)"


def test_a_picture_is_drawn_of_rows_with_gaps():
    rows = [_row(point, step_bytes=None, order_bytes=0) for point in points_of(FULL, "images")]
    sweeps = {"images": rows, "batch": []}
    device = {"runtime": "cuda", "kind": "Great GPU"}
    picture = scaling_figure.draw(sweeps, scaling_sweeps.slopes_of(sweeps), device, "Yes.")
    assert picture.startswith(b"\x89PNG")


def test_rows_that_are_missing_leave_the_others_in_order():
    rows = {point: _row(point) for point in reversed(points_of(FULL, "side")[1:])}
    assert [row.point.side for row in rows_of(rows, FULL, "side")] == [64, 128, 256]


def _row(point: Point, **others: float | None) -> Row:
    """A row whose steps take a tenth of a millisecond an image, and everything else a second."""
    values: dict[str, float | None] = {quantity.key: 1.0 for quantity in QUANTITIES}
    values |= {"step_seconds": 1e-4 * point.batch}
    return Row(point, point.images // point.batch, 32, values | others, {})


def _reply(point: Point) -> dict:
    """What a process could tell: shuffling takes a microsecond an image, a step 20 ms."""
    times = ("open", "compile", "pick")
    samples = {f"{name}_seconds": [0.01] for name in times}
    return {
        "device": {"runtime": "cpu", "kind": "cpu", "cores": 2, "processor": "Great CPU"},
        "steps_per_epoch": point.images // point.batch,
        "micro_batch": 32,
        "samples": samples
        | {"shuffle_seconds": [1e-6 * point.images], "step_seconds": [0.01, 0.02, 0.3]},
        "memory": {quantity.key: 2**20 for quantity in MEMORY},
    }
