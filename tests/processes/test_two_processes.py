"""Two real processes, started by mpirun: what they compute together, and how they end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import flaxae
from tests.fixtures.images import synthetic_split
from tests.fixtures.mpi import ROOT, Together, wait_for

pytestmark = pytest.mark.skipif(
    shutil.which("mpirun") is None, reason="needs Open MPI: apt-get install openmpi-bin"
)
TOGETHER = 15  # seconds in which all are down after one has failed
MODEL = ["--filters", "4", "3", "--activation", "relu", "--batch-size", "12"]
RECIPE = ["--learning-rate", "0.001", "--schedule", "constant", "--warmup", "0"]
# Batches of 12 in two processes; dropout is drawn by the row.
RANDOM = ["--dropout-rate", "0.2", "--noise-factor", "0.2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "images.npz"
    parts = {"train": 50, "validation": 11, "test": 13}
    arrays = {
        f"{name}_images": synthetic_split(n, s).images for s, (name, n) in enumerate(parts.items())
    }
    labels = {f"{name}_labels": np.arange(n) % 3 for name, n in parts.items()}
    np.savez(path, **arrays, **labels)
    return path


@pytest.fixture
def together(tmp_path):
    started = []

    def start(count, *arguments, **options):
        started.append(Together(count, arguments, tmp_path / f"mpi{len(started)}", **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


def train(dataset, workdir, epochs, *more):
    flags = ["--dataset", dataset, "--workdir", workdir, "--epochs", epochs]
    return ["train", *flags, *MODEL, *RECIPE, *RANDOM, *more]


def records(workdir):
    path = workdir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(workdir):
    names = ("train_loss", "validation_loss", "grad_norm")
    return np.array([[record[name] for name in names] for record in records(workdir)])


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory):
    """A run of one process, for three epochs, that all others must equal."""
    from flaxae.commands import main as cli

    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert cli.main([str(each) for each in train(dataset, workdir, 3, "--devices", 1)]) == 0
    return workdir


def test_two_processes_compute_what_one_does(dataset, alone, together, tmp_path):
    """And a run goes on with another number of processes; evaluate and embed are shared too."""
    workdir = tmp_path / "run"
    two = together(2, *train(dataset, workdir, 2), late={1: 3})
    assert two.statuses()[0] == [0, 0], two.err(0) + two.err(1)
    assert "2 x cpu (cpu), in 2 processes" in two.out(0)
    assert two.out(1) == two.err(1) == ""  # it has a file of its own
    assert "epoch 2/2" in (workdir / "logs/process-1.txt").read_text()
    one = together(1, *train(dataset, workdir, 3))
    assert one.statuses()[0] == [0], one.err(0)
    np.testing.assert_allclose(losses(workdir), losses(alone), rtol=1e-5)
    quality = flaxae.load(alone).evaluate("test")
    shared = together(2, "evaluate", "--workdir", workdir)
    assert shared.statuses()[0] == [0, 0], shared.err(0) + shared.err(1)
    found = json.loads(shared.out(0).splitlines()[-1])
    assert {name: found[name] for name in quality} == pytest.approx(quality, rel=1e-5)
    assert shared.out(1) == ""
    exported = together(2, "embed", "--workdir", workdir)
    assert exported.statuses()[0] == [0, 0], exported.err(0) + exported.err(1)
    flaxae.load(workdir).export_embedding(tmp_path / "one")
    for name in ("vectors.tsv", "embedding.parquet"):
        assert (workdir / "embedding" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    vectors = np.loadtxt(workdir / "embedding/vectors.tsv")
    expected = flaxae.load(alone).embedding("test").vectors
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-5)


def contents(*folders):
    found = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    return {str(path.relative_to(folders[0].parent)): path.read_bytes() for path in found}


def test_scores_of_two_processes_are_the_bytes_of_one(dataset, together, tmp_path, capsys):
    """And what they compare with, which two processes have kept at the end of training."""
    from flaxae.commands import main as cli

    workdir, copy = tmp_path / "run", tmp_path / "one" / "run"
    two = together(2, *train(dataset, workdir, 1, "--scoring"))
    assert two.statuses()[0] == [0, 0], two.err(0) + two.err(1)
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("reference"))
    words = ["score", "--false-alarms", "0.2", "--normal-classes", "0", "--npz", "--maps", "5"]
    words += ["--split", "all"]
    scored = together(2, *words, "--workdir", workdir)
    assert scored.statuses()[0] == [0, 0], scored.err(0) + scored.err(1)
    assert scored.out(1) == scored.err(1) == ""
    assert cli.main([*words, "--workdir", str(copy)]) == 0
    said = [json.loads(text.splitlines()[-1]) for text in (scored.out(0), capsys.readouterr().out)]
    assert [each.pop("output_dir") for each in said] == [str(p / "scores") for p in (workdir, copy)]
    assert said[0] == said[1]
    one = contents(copy / "scores", copy / "reference")
    assert len(one) == 4 + 5 + 1  # tables, pictures, arrays; maps; what scores compare with
    assert contents(workdir / "scores", workdir / "reference") == one


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_takes_the_other_down(dataset, alone, together, tmp_path, killed):
    workdir = tmp_path / "run"
    two = together(2, *train(dataset, workdir, 10_000))
    wait_for(lambda: len(records(workdir)) > 2, 150)
    two.kill(killed)
    statuses, seconds = two.statuses()
    assert statuses[killed] == 128 + signal.SIGKILL
    assert statuses[1 - killed] not in (0, 128 + signal.SIGKILL)
    assert seconds < TOGETHER
    line = two.err(1 - killed).splitlines()[-1]
    assert line.startswith(f"flaxae: error: process {killed} of 2 (")
    assert "is gone without a word" in line
    # What was saved is whole, and equal to what one process computes.
    np.testing.assert_allclose(losses(workdir)[:3], losses(alone), rtol=1e-5)


def test_a_signal_to_one_stops_both_at_the_same_step(dataset, together, tmp_path):
    workdir = tmp_path / "run"
    two = together(2, *train(dataset, workdir, 10_000))
    wait_for(lambda: len(records(workdir)) > 1, 150)
    two.kill(1, signal.SIGTERM)
    statuses, seconds = two.statuses()
    assert statuses == [128 + signal.SIGTERM] * 2, two.err(0) + two.err(1)
    assert seconds < TOGETHER
    for process in (0, 1):
        assert two.err(process).splitlines()[-1] == "flaxae: stopped by SIGTERM"
    logs = [two.out(0), (workdir / "logs/process-1.txt").read_text()]
    (first, other) = (
        [line for line in log.splitlines() if "stopped after" in line] for log in logs
    )
    assert first == other != []
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert f"stopped after step {saved}, which is saved" in first[0]


def test_an_error_in_one_is_named_by_both(dataset, together, tmp_path):
    """The folder of the run is gone for process 0 while it trains."""
    workdir = tmp_path / "run"
    two = together(2, *train(dataset, workdir, 10_000))
    wait_for(lambda: len(records(workdir)) > 1, 150)
    workdir.rename(tmp_path / "moved")
    statuses, seconds = two.statuses()
    assert statuses == [1, 1]
    assert seconds < TOGETHER
    for process in (0, 1):
        line = two.err(process).splitlines()[-1]
        assert line.startswith("flaxae: error: process 0 of 2 (")
        assert "moved or deleted while its run was training" in line


def by_hand(arguments, port, process, *more):
    """Without mpirun, as where nothing tells the processes of each other."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    flags = ["--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--process-id", process, *more]
    command = [sys.executable, str(ROOT / "run.py"), *map(str, [*arguments, *flags])]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_other_flags_in_one_process_are_refused(dataset, tmp_path):
    port = free_port()
    flags = [train(dataset, tmp_path / "run", epochs) for epochs in (2, 3)]
    with by_hand(flags[0], port, 0) as first, by_hand(flags[1], port, 1) as other:
        errors = [each.communicate(timeout=150)[1] for each in (first, other)]
    assert [first.returncode, other.returncode] == [2, 2]
    for error in errors:
        assert "process 1 was started with --epochs 3, and process 0 with 2" in error


@pytest.mark.parametrize("process", [0, 1])
def test_others_that_never_come_are_given_up(dataset, tmp_path, process):
    arguments = train(dataset, tmp_path / "run", 2)
    with by_hand(arguments, free_port(), process, "--wait-minutes", 0.05) as lonely:
        _, errors = lonely.communicate(timeout=60)
    assert lonely.returncode == 1
    assert "the processes did not find each other at 127.0.0.1:" in errors.splitlines()[-1]


def test_without_a_launcher_the_flags_are_asked_for(dataset, tmp_path):
    command = [sys.executable, str(ROOT / "run.py"), *train(dataset, tmp_path / "run", 2)]
    found = subprocess.run([*map(str, command), "--distributed"], capture_output=True, text=True)
    assert found.returncode == 2
    assert "give --coordinator HOST:PORT --processes N --process-id I" in found.stderr


@pytest.mark.parametrize(
    ("process", "seconds"),
    [
        pytest.param(1, 12, id="12 s"),
        pytest.param(1, 60, id="60 s", marks=pytest.mark.slow),
        pytest.param(0, 15, id="process 0", marks=pytest.mark.slow),
    ],
)
def test_one_that_sleeps_is_waited_for_and_named(dataset, together, tmp_path, process, seconds):
    workdir = tmp_path / "run"
    two = together(2, *train(dataset, workdir, 40))

    def notes():
        return two.err(0) if process else (workdir / "logs" / "process-1.txt").read_text()

    wait_for(lambda: len(records(workdir)) > 1, 150)
    two.kill(process, signal.SIGSTOP)
    try:
        time.sleep(seconds)
        wait_for(lambda: f"waiting for process {process} of 2" in notes(), 60, notes)
    finally:
        two.kill(process, signal.SIGCONT)
    assert two.statuses(120)[0] == [0, 0], two.err(0) + two.err(1)
