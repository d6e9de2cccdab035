import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.command import parse
from benchmarks.common.hlo import Moves
from benchmarks.common.intervals import Interval, Summary
from benchmarks.common.roofline import Ceilings, Cost
from benchmarks.layouts import Settings, report
from benchmarks.layouts.comparison import LayoutResult, Row, combinations
from benchmarks.layouts.programs import LAYOUTS, Combination, Proof

_ROOT = Path(__file__).parents[3]
_TINY = Combination("convolutional", (2,), "max_pool", "float32", 4, "plain", (8, 8, 1))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the standard output of one smoke run."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "benchmarks.layouts", "--smoke", "--output-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_smoke_ends_with_one_json_object_and_prints_the_sentence(smoke: tuple[Path, str]):
    folder, output = smoke
    last = json.loads(output.splitlines()[-1])
    assert last["sentence"] in output.splitlines()
    assert Path(last["results"]).parent == folder
    assert [ratio["pass"] for ratio in last["ratios"]] == ["train", "forward"]
    assert all(0 < ratio["low"] <= ratio["value"] <= ratio["high"] for ratio in last["ratios"])


def test_smoke_writes_json_and_picture_and_nothing_else(smoke: tuple[Path, str]):
    folder, output = smoke
    last = json.loads(output.splitlines()[-1])
    assert sorted(folder.iterdir()) == sorted([Path(last["results"]), Path(last["picture"])])
    assert Path(last["picture"]).read_bytes().startswith(b"\x89PNG")
    assert Path(last["results"]).name.endswith("-smoke.json")


def test_smoke_results_have_every_sample_and_where_they_come_from(smoke: tuple[Path, str]):
    report = json.loads(Path(json.loads(smoke[1].splitlines()[-1])["results"]).read_text())
    assert {"kind", "driver", "runtime", "processor", "cores"} <= set(report["device"])
    assert {"flaxae", "commit", "jax", "jaxlib", "python"} <= set(report["software"])
    assert report["settings"]["repeats"] == 3
    assert str(smoke[0]) not in json.dumps(report)  # results are published, folders are not
    assert report["device_peak_bytes"] is None or report["device_peak_bytes"] > 0
    for row in report["rows"]:
        assert max(row["proof"][part] for part in ("logits", "loss", "grads")) <= 2e-4
        assert set(row["layouts"]) == {"NHWC", "NCHW"}
        for result in row["layouts"].values():
            assert len(result["samples"]) == result["time"]["samples"] == 3
            assert np.median(result["samples"]) == pytest.approx(result["time"]["median"])
            assert result["compile_seconds"] > 0
            assert result["cost"]["flops"] > 0
            assert len(result["convolutions"]) == {"train": 20, "forward": 7}[row["passing"]]
        assert row["explanation"]


def test_the_fully_connected_model_is_measured_once():
    flags = "--models convolutional fully_connected --dtypes float32 --batch-sizes 64 256"
    settings = parse(Settings, flags.split())
    found = [(c.model, c.downsample, c.batch_size) for c in combinations(settings)]
    assert found == [
        ("convolutional", "max_pool", 64),
        ("convolutional", "max_pool", 256),
        ("convolutional", "stride", 64),
        ("convolutional", "stride", 256),
        ("fully_connected", "max_pool", 64),
        ("fully_connected", "max_pool", 256),
    ]


def _row(ratio: float, low: float, high: float) -> Row:
    result = LayoutResult(
        0, Summary(1, 1, 1, 3), [1] * 3, Cost(None, None), None, None, [], Moves(0, 0, 0, 0)
    )
    proof, interval = Proof(0, 0, 0, 1), Interval(ratio, low, high, 0.95)
    return Row(_TINY, "train", proof, 1, dict.fromkeys(LAYOUTS, result), interval, False)


@pytest.mark.parametrize(
    ("ratios", "advice"),
    [
        ([(0.7, 0.6, 0.8), (0.9, 0.85, 0.95)], "; take --layout NCHW"),
        ([(0.7, 0.6, 0.8), (1, 0.9, 1.1)], "; NCHW is better in some combinations: see the table"),
        ([(1.2, 1.1, 1.3), (1, 0.9, 1.1)], "; keep NHWC"),
        (
            [(1.01, 0.9, 1.1), (1.0, 0.99, 1.01)],
            "; there is no significant difference: keep NHWC",
        ),
        ([(0.99, 0.985, 0.995)], "; there is no significant difference: keep NHWC"),
        (
            [(0.7, 0.6, 0.8), (1.2, 1.1, 1.3)],
            "depends on the combination: see the table",
        ),
    ],
)
def test_the_sentence_follows_from_the_intervals(
    ratios: list[tuple[float, float, float]], advice: str
):
    sentence = report.answer([_row(*ratio) for ratio in ratios])
    assert sentence.startswith("the time of a training step in NCHW relative to NHWC is ")
    assert sentence.endswith(advice)


def test_equal_programs_do_not_count_as_a_difference():
    row = _row(0.7, 0.6, 0.8)._replace(same_program=True)
    sentence = report.answer([row])
    assert sentence.endswith("; there is no significant difference: keep NHWC")


def test_missing_values_are_called_not_reported(capsys):
    report.show([_row(1, 1, 1)], {"float32": Ceilings(1e9, 1e9, 512)}, None)
    output = capsys.readouterr().out
    assert "peak device memory of the whole run: not reported" in output
    assert output.count("not reported") == 4  # floor, times the floor, memory, peak


def test_equal_programs_are_explained_as_equal():
    row = _row(1, 1, 1)
    assert "same instructions" in report.explain(row._replace(same_program=True))
    assert "no convolutions" in report.explain(row)
    assert "not reported" in report.explain(row._replace(same_program=None))
