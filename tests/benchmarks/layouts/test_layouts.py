import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.training.train_state import TrainState

from benchmarks.common import device, roofline
from benchmarks.common.intervals import Interval, Summary
from benchmarks.common.roofline import Ceilings, Cost
from benchmarks.layouts import __main__ as layouts
from benchmarks.layouts import report as layout_report
from benchmarks.layouts.comparison import combinations, to_text
from benchmarks.layouts.compiled import Moves
from benchmarks.layouts.programs import (
    LAYOUTS,
    Combination,
    LayoutsDiffer,
    Outcome,
    Proof,
    compare,
    make_batches,
    make_states,
    prove_equal,
)
from benchmarks.layouts.rows import LayoutResult, Row

_ROOT = Path(__file__).parents[3]
_SCRIPT = Path(layouts.__file__)
_TINY = Combination("convolutional", (2,), "max_pool", "float32", 4, "plain", (8, 8, 1))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the standard output of one smoke run."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "benchmarks.layouts", "--smoke", "--output-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_smoke_ends_with_one_json_object_and_says_the_sentence(smoke: tuple[Path, str]):
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


@pytest.fixture(scope="module")
def states() -> dict[str, TrainState]:
    return make_states(_TINY)


def test_help_and_bad_flags_answer_without_jax(tmp_path: Path):
    # A module named jax that fails: what does not import it does not notice.
    (tmp_path / "jax.py").write_text("raise SystemExit('imported')")

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.layouts", *flags],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{_ROOT}"},
            cwd=tmp_path,
        )

    shown = run("--help")
    assert shown.returncode == 0
    assert "--batch-sizes" in shown.stdout
    for flags in (
        ["--repeats", "0"],
        ["--batch-sizes", "64", "x"],
        ["--dtypes", "float16"],
        ["--batch", "64"],
        ["--output-dir", str(tmp_path / "jax.py")],
    ):
        refused = run(*flags)
        assert refused.returncode == 2
        assert refused.stdout == ""
        assert len(refused.stderr.splitlines()) == 1
        assert flags[0] in refused.stderr


def test_the_layouts_are_proved_equal():
    combination = _TINY._replace(downsample="stride", image_shape=(9, 7, 3))
    (batch,) = make_batches(combination, 1)
    proof = prove_equal(make_states(combination), batch, "float32")
    assert max(proof[:3]) <= proof.tolerance == 2e-4


def test_the_proof_fails_on_another_function(states: dict[str, TrainState]):
    apply = states["NHWC"].apply_fn
    other = states["NHWC"].replace(apply_fn=lambda *given, **named: apply(*given, **named) * 1.001)
    (batch,) = make_batches(_TINY, 1)
    with pytest.raises(LayoutsDiffer, match=r"^logits of NHWC and NCHW differ by 0\.001 "):
        prove_equal({"NHWC": other, "NCHW": states["NHWC"]}, batch, "float32")


@pytest.mark.parametrize("part", Outcome._fields)
@pytest.mark.parametrize("wrong", [1.1, math.nan, math.inf])
def test_a_difference_anywhere_fails_the_proof(part: str, wrong: float):
    right = Outcome(jnp.ones((1, 2, 2, 1)), jnp.float32(1), {"a": jnp.ones(3), "b": jnp.ones(2)})
    changed = {"a": jnp.ones(3), "b": jnp.array([1, wrong])} if part == "grads" else wrong
    value = changed if part == "grads" else getattr(right, part) * wrong
    assert compare(right, right, 1e-6) == Proof(0, 0, 0, 1e-6)
    with pytest.raises(LayoutsDiffer, match=part):
        compare(right, right._replace(**{part: value}), 1e-6)


def test_both_layouts_start_from_the_same_parameters(states: dict[str, TrainState]):
    jax.tree.map(np.testing.assert_array_equal, *(states[layout].params for layout in LAYOUTS))
    kernel = states["NCHW"].params["encoder"]["blocks_0"]["layers_0"]["kernel"]
    assert kernel.shape == (3, 3, 1, 2)  # HWIO


def test_batches_are_all_different():
    one, other = make_batches(_TINY, 2)
    assert not np.array_equal(one.images, other.images)
    assert np.ptp(one.images) > 0


def test_the_fully_connected_model_comes_once():
    flags = "--models convolutional fully_connected --dtypes float32 --batch-sizes 64 256"
    settings = layouts.parse(flags.split())
    found = [(c.model, c.downsample, c.batch_size) for c in combinations(settings)]
    assert found == [
        ("convolutional", "max_pool", 64),
        ("convolutional", "max_pool", 256),
        ("convolutional", "stride", 64),
        ("convolutional", "stride", 256),
        ("fully_connected", "max_pool", 64),
        ("fully_connected", "max_pool", 256),
    ]


@pytest.mark.parametrize(
    ("flops", "size", "seconds"), [(300, 10, 3), (100, 50, 5), (None, 50, None), (100, None, None)]
)
def test_the_floor_is_the_larger_of_arithmetic_and_memory(flops, size, seconds):
    assert roofline.floor_seconds(Cost(flops, size), Ceilings(100, 10, 512)) == seconds


class _Stage:
    def __init__(self, analysis: object) -> None:
        self.analysis = analysis

    def cost_analysis(self) -> object:
        if isinstance(self.analysis, Exception):
            raise self.analysis
        return self.analysis


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({"flops": 2.0, "bytes accessed": 3.0}, Cost(2, 3)),
        ([{"flops": 2.0, "bytes accessed": 3.0}], Cost(2, 3)),
        ({"flops": -1.0}, Cost(None, None)),
        ([], Cost(None, None)),
        (None, Cost(None, None)),
        (NotImplementedError(), Cost(None, None)),
    ],
    ids=str,
)
def test_cost_analysis_in_every_form(analysis: object, expected: Cost):
    assert roofline.cost(_Stage(analysis), _Stage(analysis)) == expected


def test_operations_of_a_matrix_product_are_counted():
    lowered = jax.jit(jnp.matmul).lower(jnp.ones((16, 16)), jnp.ones((16, 16)))
    cost = roofline.cost(lowered, lowered.compile())
    assert cost.flops == 2 * 16**3
    assert cost.bytes_accessed == 3 * 16 * 16 * 4


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NVIDIA A100-SXM4/40GB", "nvidia-a100-sxm4-40gb"),
        ("TPU v5 lite", "tpu-v5-lite"),
        ("cpu", "cpu"),
        ("../..", "device"),
    ],
)
def test_file_names(kind: str, expected: str):
    assert device.name_for_files(kind) == expected


def _row(ratio: float, low: float, high: float) -> Row:
    result = LayoutResult(
        0, 0, Summary(1, 1, 1, 3), [1] * 3, Cost(None, None), None, None, [], Moves(0, 0, 0, 0, 0)
    )
    proof, interval = Proof(0, 0, 0, 1), Interval(ratio, low, high, 0.95)
    return Row(_TINY, "train", proof, 1, dict.fromkeys(LAYOUTS, result), interval, False, "because")


_DEVICE = {"runtime": "cuda", "kind": "Great GPU"}


@pytest.mark.parametrize(
    ("ratios", "advice"),
    [
        ([(0.7, 0.6, 0.8), (0.9, 0.85, 0.95)], "so take --layout NCHW."),
        ([(0.7, 0.6, 0.8), (1, 0.9, 1.1)], "so NCHW pays in some combinations: see the table."),
        ([(1.2, 1.1, 1.3), (1, 0.9, 1.1)], "so keep NHWC."),
        (
            [(1.01, 0.9, 1.1), (1.0, 0.99, 1.01)],
            "so this run shows no difference to choose by: keep NHWC.",
        ),
        ([(0.99, 0.985, 0.995)], "so this run shows no difference to choose by: keep NHWC."),
        ([(0.7, 0.6, 0.8), (1.2, 1.1, 1.3)], "so it depends on the combination: see the table."),
    ],
)
def test_the_sentence_follows_from_the_intervals(
    ratios: list[tuple[float, float, float]], advice: str
):
    sentence = layout_report.answer([_row(*ratio) for ratio in ratios], _DEVICE, smoke=False)
    assert sentence.startswith("On this Great GPU, a training step in NCHW takes ")
    assert sentence.endswith(advice)


def test_equal_programs_are_no_evidence():
    row = _row(0.7, 0.6, 0.8)._replace(same_program=True)
    sentence = layout_report.answer([row], _DEVICE, smoke=False)
    assert sentence.endswith("so this run shows no difference to choose by: keep NHWC.")


def test_what_a_device_does_not_tell_is_not_reported(capsys):
    layout_report.show([_row(1, 1, 1)], {"float32": Ceilings(1e9, 1e9, 512)}, None)
    output = capsys.readouterr().out
    assert "peak device memory of the whole run: not reported" in output
    assert output.count("not reported") == 4  # floor, times the floor, memory, peak


def test_two_equal_programs_are_called_so():
    result = _row(1, 1, 1).layouts["NHWC"]
    assert "same instructions" in layout_report.explain(result, result, same_program=True)
    assert "no convolutions" in layout_report.explain(result, result, same_program=False)


def test_json_keeps_a_list_of_numbers_on_one_line():
    report = {"samples": [1.5, 2e-05, -3], "names": ["a", "b"], "rows": [{"n": 1}]}
    text = to_text(report)
    assert '"samples": [1.5, 2e-05, -3]' in text
    assert json.loads(text) == report
