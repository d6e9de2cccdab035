import re
import subprocess
import sys
from pathlib import Path

import pytest

from flaxae.commands.main import main
from flaxae.errors import RunError

ROOT = Path(__file__).parents[2]
HEAVY = ("jax", "flax", "numpy", "tensorflow_datasets", "orbax", "PIL", "rich", "tensorboardX")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command; see"),
        (["paint"], "argument command: invalid choice: 'paint'"),
        (["train", "--model", "recurrent"], "argument --model: invalid choice: 'recurrent'"),
        (["train", "--batch-size", "many"], "argument --batch-size: invalid int value: 'many'"),
        (["train", "--epoch", "3"], "unrecognized arguments: --epoch 3; see"),
        (["train", "--filters", "16", "0"], "--filters got 0 at position 2; every block needs"),
        (["train", "--dtype", "float16"], "argument --dtype: invalid choice: 'float16'"),
        (
            ["train", "--hidden-units", "8"],
            "--hidden-units belongs to --model fully_connected, and the model is convolutional;",
        ),
        (
            ["train", "--model", "fully_connected", "--filters", "8"],
            "--filters belongs to --model convolutional, and the model is fully_connected; ",
        ),
        (["train", "--loss", "hinge"], "argument --loss: invalid choice: 'hinge'"),
        (
            ["train", "--schedule", "cosine", "--schedule-epochs", "5", "--epochs", "6"],
            "--epochs got 6, but the cosine schedule reaches a learning rate of 0 after 5 epochs",
        ),
        (["evaluate"], "the following arguments are required: --workdir; see"),
        (["evaluate", "--workdir", "/nowhere"], "/nowhere holds no run: there is no config.json"),
        (["evaluate", "--workdir", "w", "--split", "half"], "argument --split: invalid choice"),
        (
            ["reconstruct", "--workdir", "w", "--checkpoint", "new"],
            "--checkpoint got new; expected",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"flaxae: error: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunError("the disk is full"), 1),
        (OSError(28, "No space left on device"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_goes_wrong_later_has_a_status_and_no_traceback(error, status, capsys, monkeypatch):
    def fail(config):
        raise error

    monkeypatch.setattr("flaxae.commands.train.run", fail)
    assert main(["train"]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_help_shows_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag, default in {
        "--model": "convolutional",
        "--filters": "16 8 8",
        "--hidden-units": "128 64 32",
        "--downsample": "max_pool",
        "--latent-dim": None,
        "--activation": "relu",
        "--dropout-rate": "0.0",
        "--noise-factor": "0.0",
        "--dataset": "mnist_5k",
        "--data-dir": None,
        "--manual-dir": None,
        "--workdir": None,
        "--epochs": "50",
        "--batch-size": "256",
        "--learning-rate": "0.001",
        "--learning-rate-decay": "0.96",
        "--decay-steps": "1000",
        "--weight-decay": "1e-05",
        "--layout": "NHWC",
        "--dtype": "float32",
        "--seed": "0",
    }.items():
        entry = text.split(" options: ", 1)[1]
        after = re.split(rf" {flag} (?=[A-Z]+ |\[N|{{)", entry, maxsplit=1)[1]
        kind, value = re.search(r"\((default|none): ([^)]*)\)", after).groups()
        assert (kind, value if default else None) == ("default" if default else "none", default)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "--no-flag"]])
def test_help_and_wrong_flags_import_nothing_heavy(arguments):
    script = (
        "import sys, flaxae.commands.main\n"
        "try: flaxae.commands.main.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_run_py_is_the_front_door():
    command = [sys.executable, "run.py", "train", "--epochs", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "flaxae: error: argument --epochs: invalid int value: 'none'; see run.py train --help\n"
    )
