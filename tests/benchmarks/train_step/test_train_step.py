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

from benchmarks.common.intervals import Interval, Summary
from benchmarks.common.roofline import Ceilings
from benchmarks.common.workers import WorkerFailed, ask, in_turns, resident
from benchmarks.train_step import __main__ as train_step
from benchmarks.train_step import report as step_report
from benchmarks.train_step.race import prove
from benchmarks.train_step.rows import (
    REFERENCE,
    SUBJECT,
    VARIANTS,
    Proof,
    Result,
    Row,
    StepsDiffer,
    compare_losses,
)
from benchmarks.train_step.steps import in_flaxae, in_linen
from benchmarks.train_step.steps.kernels import for_keras, for_torch
from benchmarks.train_step.steps.program import Program
from benchmarks.train_step.steps.workload import (
    IMAGE_SHAPE,
    MODELS,
    Layer,
    Workload,
    crops,
    layers,
    make_batches,
)
from benchmarks.train_step.worker import answering, measure, peak_bytes, serve
from flaxae.config import ComputeConfig, ModelConfig
from flaxae.models.autoencoder import Autoencoder
from flaxae.models.ops import plain

_ROOT = Path(__file__).parents[3]
_SCRIPT = Path(train_step.__file__)
_TINY = {"filters": (3, 2), "hidden_units": (6, 5, 4), "image_shape": (9, 7, 2)}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, str]:
    """The folder and the standard output of one smoke run without peers."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [
        sys.executable,
        "-m",
        "benchmarks.train_step",
        "--smoke",
        "--peers",
        "--output-dir",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_smoke_ends_with_one_json_object_and_says_the_sentence(smoke: tuple[Path, str]):
    folder, output = smoke
    last = json.loads(output.splitlines()[-1])
    assert last["sentence"] in output.splitlines()
    assert [row["variant"] for row in last["rows"]] == ["flaxae fast", "flaxae plain", "flax.linen"]
    assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in last["rows"])
    assert sorted(folder.iterdir()) == sorted([Path(last["results"]), Path(last["picture"])])
    assert Path(last["picture"]).read_bytes().startswith(b"\x89PNG")


def test_smoke_results_have_every_sample_and_where_they_come_from(smoke: tuple[Path, str]):
    text = Path(json.loads(smoke[1].splitlines()[-1])["results"]).read_text()
    assert str(smoke[0]) not in text  # results are published, folders are not
    report = json.loads(text)
    assert {"kind", "processor", "cores"} <= set(report["device"])
    assert {"commit", "jax", "flax"} <= set(report["software"])
    (row,) = report["rows"]
    assert row["flops"] > 1e8
    assert row["floor_seconds"] == row["flops"] / report["ceilings"]["flops_per_second"]
    for result in row["results"].values():
        assert result["proof"]["steps"] == 20
        assert result["proof"]["difference"] <= 1e-4
        assert len(result["wall_samples"]) == len(result["cpu_samples"]) == 3
        assert np.median(result["wall_samples"]) == pytest.approx(result["wall"]["median"])
        assert result["peak_bytes"] > 2**26
        assert result["faults"] >= 0


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--repeats", "0"], "--repeats"),
        (["--batch-sizes", "64", "x"], "--batch-sizes"),
        (["--models", "transformer"], "--models"),
        (["--peers", "theano"], "--peers"),
        (["--output-dir", str(_SCRIPT)], "--output-dir"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(flags: list[str], named: str, capsys):
    with pytest.raises(SystemExit, match="2"):
        train_step.parse(flags)
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line


def test_absent_peers_are_left_out_unless_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(train_step, "installed", lambda peer: peer == "torch")
    assert train_step.parse([]).peers == ("torch",)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("keras not installed; pip install -r benchmarks/requirements.txt")
    assert train_step.parse(["--peers"]).peers == ()
    assert train_step.parse(["--peers", "torch"]).peers == ("torch",)
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="2"):
        train_step.parse(["--peers", "keras", "torch"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "keras not installed; pip install -r benchmarks/requirements.txt" in line


# One model


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("sizes", [{}, _TINY], ids=["default", "tiny"])
def test_weights_have_the_names_and_shapes_of_flaxae(model: str, sizes: dict):
    workload = Workload(model, **sizes)
    parts = in_flaxae.make_parts(workload, "plain")
    config = ModelConfig(
        model="fully_connected" if model == "fully_connected" else "convolutional",
        filters=workload.filters,
        hidden_units=workload.hidden_units,
        downsample="stride" if model == "convolutional_stride" else "max_pool",
    )
    images = jnp.zeros((1, *workload.image_shape))
    autoencoder = Autoencoder(config, ComputeConfig(), workload.image_shape)
    own = jax.eval_shape(autoencoder.init, jax.random.key(0), images)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.shape, own)
    assert shapes == jax.tree.map(lambda leaf: leaf.shape, parts.fresh.params)


@pytest.mark.parametrize("model", MODELS)
def test_flaxae_and_linen_train_alike(model: str):
    workload = Workload(model, **_TINY)
    programs = [
        in_flaxae.build(workload, "plain"),
        in_flaxae.build(workload, "fast"),
        in_linen.build(workload, "plain"),
    ]
    batches = make_batches(5, workload.image_shape, 3)
    losses = [
        answering(program, lambda size: batches[:size])("prove 3 4")["losses"]
        for program in programs
    ]
    assert losses[0][-1] < losses[0][0]
    assert all(compare_losses(each, losses[0]).equal for each in losses[1:])


def test_a_wrong_kernel_fails_the_proof(monkeypatch):
    workload = Workload("convolutional", **_TINY)
    right = answering(in_linen.build(workload, "plain"), _tiny_batches)("prove 3 4")["losses"]
    turned = [
        layer._replace(kernel=layer.kernel[::-1, ::-1]) if layer.kind == "transposed" else layer
        for layer in layers(workload)
    ]
    monkeypatch.setattr(in_linen, "layers", lambda workload: turned)
    wrong = answering(in_linen.build(workload, "plain"), _tiny_batches)("prove 3 4")["losses"]
    assert not compare_losses(wrong, right).equal


def test_the_default_model_is_the_one_in_the_notes():
    sizes = [layer.kernel.size + layer.bias.size for layer in layers(Workload("convolutional"))]
    assert sum(sizes) == 7873
    assert crops(Workload("convolutional")) == (4, 4)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="got the model 'transformer'"):
        layers(Workload("transformer"))


def test_images_have_something_to_learn():
    one, other = make_batches(16, IMAGE_SHAPE, 2)
    assert one.dtype == np.uint8
    assert not np.array_equal(one, other)
    assert 0.05 < (one / 255).mean() < 0.3  # a constant explains it: not half and half
    assert one.max() > 200


def test_transposed_kernels_are_turned_for_those_who_stamp_them():
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(3, 3, 2, 4)).astype(np.float32)  # HWIO
    layer = Layer("transposed", kernel, np.zeros(4, np.float32), 2, False, False)
    x = generator.normal(size=(1, 5, 4, 2)).astype(np.float32)
    arrays = map(jnp.asarray, (x, kernel, layer.bias))
    expected = plain.conv_transpose(*arrays, stride=2, activation="identity", layout="NHWC")
    # Keras HWOI: stamps start at pixel 2i, and what reaches beyond the doubled size is cut off.
    np.testing.assert_allclose(_stamp(x, for_keras(layer).swapaxes(2, 3)), expected, atol=1e-5)
    # PyTorch IOHW
    stamped = _stamp(x, for_torch(layer).transpose(2, 3, 0, 1))
    np.testing.assert_allclose(stamped, expected, atol=1e-5)


def test_other_kernels_only_change_their_order():
    kernel = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
    layer = Layer("convolution", kernel, np.zeros(4, np.float32), 1, True, False)
    assert for_keras(layer) is kernel
    assert for_torch(layer)[3, 1, 0, 2] == kernel[0, 2, 1, 3]
    dense = layer._replace(kind="dense", kernel=kernel.reshape(18, 4))
    assert for_torch(dense)[3, 17] == dense.kernel[17, 3]


# The worker


class Steps:
    """A program whose step takes two seconds of a fake clock, and a diary."""

    def __init__(self) -> None:
        self.now = 0.0
        self.diary: list[object] = []
        self.program = Program(self._restart, self._to_input, self._step, self._wait, "cpu", {})

    def _restart(self) -> None:
        self.diary.append("restart")

    def _to_input(self, images: object) -> object:
        return images

    def _step(self, batch: object) -> object:
        self.diary.append(batch)
        return batch

    def _wait(self, pending: object) -> float:
        self.now += 2.0 * sum(entry != "wait" for entry in self.diary)
        self.diary.append("wait")
        return 0.5


def test_a_proof_restarts_and_waits_for_every_step():
    steps = Steps()
    answer = answering(steps.program, lambda size: ["a", "b"][:size])
    assert answer("prove 2 3") == {"losses": [0.5] * 3}
    assert steps.diary == ["restart", "a", "wait", "b", "wait", "a", "wait"]


def test_a_burst_waits_once_and_tells_each_steps_share():
    steps = Steps()
    sample = measure(steps.program, ["a", "b", "a", "b"], clock=lambda: steps.now)
    assert steps.diary == ["a", "b", "a", "b", "wait"]
    assert sample["wall"] == 2
    assert sample["cpu"] >= 0
    assert sample["peak_bytes"] == pytest.approx(peak_bytes(), rel=0.2)


def test_faults_are_counted_for_each_step():
    pages = 4096

    def touch(batch: object) -> float:
        np.ones(pages * os.sysconf("SC_PAGE_SIZE"), np.uint8)
        return 0.0

    program = Program(lambda: None, str, touch, float, "cpu", {})
    assert measure(program, ["a", "b"])["faults"] > 0.01 * pages  # huge pages are one fault each


def test_requests_are_answered_until_quit():
    replies: list[dict] = []
    serve(lambda line: {"line": line.strip()}, ["a\n", "b\n", "quit\n", "c\n"], replies.append)
    assert replies == [{"line": "a"}, {"line": "b"}]


def test_wrong_requests_are_refused():
    answer = answering(Steps().program, lambda size: ["a"])
    with pytest.raises(ValueError, match="before any prove"):
        answer("burst 1")
    with pytest.raises(ValueError, match="'sprint'; expected prove, burst or quit"):
        answer("sprint 1")


_ECHO = """
import json, sys
for line in sys.stdin:
    word = line.strip()
    if word == "quit": break
    if word == "die": sys.exit("out of patience")
    print(json.dumps({"error": "no"} if word == "fail" else {"heard": word}), flush=True)
"""


def test_workers_stay_and_answer_and_end():
    with resident({"A": ["-c", _ECHO], "B": ["-c", _ECHO]}) as workers:
        heard = [ask(workers[name], word)["heard"] for name, word in [("A", "x"), ("B", "y")] * 2]
        assert heard == ["x", "y"] * 2
        processes = [worker.process for worker in workers.values()]
        assert all(process.poll() is None for process in processes)
    assert [process.returncode for process in processes] == [0, 0]


def test_a_worker_that_fails_says_why():
    with resident({"A": ["-c", _ECHO]}) as workers:
        with pytest.raises(WorkerFailed, match=r"^A: no$"):
            ask(workers["A"], "fail")
        with pytest.raises(WorkerFailed, match=r"^A ended with status 1: out of patience$"):
            ask(workers["A"], "die")
        with pytest.raises(WorkerFailed, match=r"^A ended"):
            ask(workers["A"], "x")


def test_a_worker_tells_what_it_cannot_import():
    command = ["-m", "benchmarks.train_step.worker", "theano", "plain", "convolutional"]
    with resident({"A": command}) as workers, pytest.raises(WorkerFailed, match="in_theano"):
        ask(workers["A"], "prove 1 1")


# The race


def test_bursts_are_interleaved():
    diary: list[str] = []

    def burst(name: str):
        return lambda: diary.append(name) or {"turn": len(diary)}

    replies = in_turns({name: burst(name) for name in "ABC"}, 2)
    assert diary == list("ABCABC")
    assert replies["B"] == [{"turn": 2}, {"turn": 5}]


_LOSSES = """
import json, sys
for line in sys.stdin:
    if line.strip() == "quit": break
    print('{"losses": [%s]}', flush=True)
"""


def test_peers_that_differ_or_fail_are_told_and_flaxae_ends_the_race(capsys):
    def run(**losses: str) -> dict[str, Proof]:
        names = {"subject": SUBJECT, "reference": REFERENCE, "linen": "flax.linen"}
        commands = {names[key]: ["-c", _LOSSES % value] for key, value in losses.items()}
        commands["PyTorch"] = ["-c", "raise SystemExit('no memory')"]
        with resident(commands) as workers:
            return prove(workers, 32, 2)

    proofs = run(subject="0.7, 0.60005", reference="0.7, 0.6", linen="0.7, 0.6002")
    equal = {name: proof.equal for name, proof in proofs.items()}
    assert equal == {SUBJECT: True, REFERENCE: True, "flax.linen": False}
    assert capsys.readouterr().out == "not compared: PyTorch ended with status 1: no memory\n"
    with pytest.raises(StepsDiffer, match=r"at batch size 32 .* differ by 0\.001 nats"):
        run(subject="0.7, 0.601", reference="0.7, 0.6")


@pytest.mark.parametrize("wrong", [1.0002, math.nan, math.inf])
def test_a_difference_in_any_step_is_one(wrong: float):
    assert compare_losses([1, 1.00005], [1, 1]).equal
    assert not compare_losses([1, wrong, 1], [1, 1, 1]).equal


# The report


def _row(ratio: float) -> Row:
    times = Summary(0.02 * ratio, 0.01, 0.03, 3)
    proof = Proof(20, 1e-6, True)
    result = Result(
        proof,
        5,
        times,
        times,
        0,
        2**28,
        Interval(ratio, ratio - 0.1, ratio + 0.1, 0.95),
        [],
        [],
        [],
    )
    own = result._replace(wall=times._replace(median=0.02), ratio=Interval(1, 1, 1, 0.95))
    unequal = {"PyTorch": Proof(20, 0.3, False)}
    return Row("convolutional", 256, 4e9, 0.05, {SUBJECT: own, "Keras": result}, unequal)


def test_the_sentence_tells_each_ratio_and_its_interval():
    device = {"runtime": "cuda", "kind": "Great GPU"}
    rows = [_row(3)._replace(batch_size=32), _row(0.9), _row(2)._replace(batch_size=1024)]
    assert step_report.answer(rows, device, smoke=False) == (
        "On this Great GPU, a training step of the convolutional model with 256 images takes "
        "flaxae 20.0 ms; times as long take Keras 0.90 (0.80 to 1.00)."
    )


def test_what_was_not_timed_is_in_the_table(capsys):
    step_report.show([_row(0.9)], Ceilings(1e11, 1e10, 512))
    output = capsys.readouterr().out
    assert "20.0" in output
    assert "18.0 (0.90)" in output
    assert "not timed" in output
    assert "3e-01" in output


def test_variants_have_different_names():
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


def _tiny_batches(size: int) -> list[np.ndarray]:
    return make_batches(5, _TINY["image_shape"], size)


def _stamp(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride-2 transposed convolution by its definition: each pixel stamps the kernel (HWIO)."""
    _, height, width, _ = x.shape
    y = np.zeros((len(x), 2 * height + 1, 2 * width + 1, kernel.shape[3]), np.float32)
    for row in range(height):
        for column in range(width):
            stamp = np.einsum("bi,hwio->bhwo", x[:, row, column], kernel)
            y[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += stamp
    return y[:, : 2 * height, : 2 * width]
