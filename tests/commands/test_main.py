import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flaxae.commands.flags import command_line
from flaxae.commands.main import main
from flaxae.config import TrainConfig
from flaxae.config.flags import preset
from flaxae.config.presets import PRESETS, Preset
from flaxae.data import DataConfig
from flaxae.errors import InputError, RunError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import OptimizerConfig

ROOT = Path(__file__).parents[2]
HEAVY = ("jax", "flax", "numpy", "tensorflow_datasets", "orbax", "PIL", "rich", "tensorboardX")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command; see"),
        (["paint"], "argument command: invalid choice: 'paint'"),
        (["train", "--model", "recurrent"], "argument --model: invalid choice: 'recurrent'"),
        (["train", "--batch-size", "many"], "argument --batch-size: invalid int value: 'many'"),
        (
            ["train", "--epoch", "3"],
            "unrecognized arguments: --epoch 3; did you mean --epochs?; see",
        ),
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
        (["train", "--filters", "16", "many"], "argument --filters: invalid int value: 'many'"),
        (["train", "--filters", "Auto"], "argument --filters: invalid int value: 'Auto'"),
        (["train", "--dense-units", "0"], "--dense-units got 0 at position 1; every layer"),
        (
            ["train", "--model", "fully_connected", "--dense-units", "8"],
            "--dense-units belongs to --model convolutional, and the model is fully_connected; ",
        ),
        (["train", "--corrupt", "blur"], "argument --corrupt: invalid choice: 'blur' (choose from"),
        (
            ["train", "--corrupt", "mask", "affine", "mask"],
            "--corrupt got mask affine mask; expected names among affine, shift, mask, each at mos",
        ),
        (["train", "--rotation", "181"], "--rotation got 181.0; expected 0 to 180 degrees"),
        (["train", "--mask-size", "0"], "--mask-size got 0.0; expected 0 < fraction <= 1"),
        (["train", "--train-limit", "0"], "--train-limit got 0; expected a whole number from 1"),
        (["train", "--preset", "best"], "argument --preset: invalid choice: 'best' (choose from"),
        (["train", "--preset", "original", "--epochs", "0"], "--epochs got 0; expected a whole"),
        (["train", "--loss", "hinge"], "argument --loss: invalid choice: 'hinge'"),
        (
            ["train", "--schedule", "cosine", "--schedule-epochs", "5", "--epochs", "6"],
            "--epochs got 6, but the cosine schedule reaches a learning rate of 0 after 5 epochs",
        ),
        (["evaluate"], "the following arguments are required: --workdir; see"),
        (
            ["report", "--workdir", "w", "--distributed"],
            "report runs in one process, and got --distributed; start it once and leave the flag "
            "out (train, evaluate, embed, score run in several)",
        ),
        (["data", "--list", "--processes=2"], "data runs in one process, and got --processes=2"),
        (["evaluate", "--workdir", "/nowhere"], "/nowhere holds no run: there is no config.json"),
        (["evaluate", "--workdir", "w", "--split", "half"], "argument --split: invalid choice"),
        (
            ["reconstruct", "--workdir", "w", "--checkpoint", "new"],
            "--checkpoint got new; expected",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("flaxae.commands.train.run", lambda options: 0)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"flaxae: error: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("command", ["evaluate", "embed", "score", "report"])
def test_help_begins_with_what_every_user_needs(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    flags = re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
    assert flags[0] == "--workdir"
    rare = [name for name in flags if name in ("--distributed,", "--coordinator", "--processes")]
    assert flags.index("--checkpoint") < min(map(flags.index, rare), default=len(flags))
    assert flags[-1] == "--compilation-cache"


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


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    def fail(options):
        print("caf\u00e9 \udcff")
        raise InputError("caf\u00e9")

    monkeypatch.setattr("flaxae.commands.train.run", fail)
    assert main(["train"]) == 2
    assert out.buffer.getvalue() == b"caf\\xe9 \\udcff\n"
    assert err.buffer.getvalue() == b"flaxae: error: caf\\xe9\n"


@pytest.fixture
def config_of(monkeypatch):
    """What a command line asks for, without training."""
    found = []
    monkeypatch.setattr("flaxae.commands.train.run", lambda options: found.append(options) or 0)

    def parse(*arguments):
        assert main(["train", *arguments]) == 0
        return found[-1].config

    return parse


def test_flags_of_several_values(config_of):
    assert config_of("--filters", "auto").model == ConvolutionalConfig(filters="auto")
    assert config_of("--filters", "5", "4").model == ConvolutionalConfig(filters=(5, 4))
    found = config_of("--dense-units", "9", "5", "--latent-dim", "3").model
    assert found == ConvolutionalConfig(dense_units=(9, 5), latent_dim=3)
    assert config_of("--dense-units").model == ConvolutionalConfig()
    found = config_of("--corrupt", "mask", "affine", "--rotation", "30", "--mask-size", "0.5")
    expected = ObjectiveConfig(corrupt=("mask", "affine"), rotation=30.0, mask_size=0.5)
    assert found.objective == expected
    assert config_of("--corrupt").objective == ObjectiveConfig()
    assert config_of("--train-limit", "7").data == DataConfig(train_limit=7)


def test_without_flags_it_is_the_default_config(config_of):
    assert config_of() == TrainConfig()
    connected = TrainConfig(model=FullyConnectedConfig())
    assert config_of("--model", "fully_connected") == connected


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_flags_that_its_help_names(config_of, name):
    found = config_of("--preset", name)
    assert found == replace(preset(name), workdir=found.workdir)
    typed = config_of(*command_line(PRESETS[name].flags).split())
    assert replace(typed, workdir=found.workdir) == found


def test_flags_that_are_given_win_over_a_preset(config_of):
    found = config_of("--epochs", "3", "--preset", "original", "--activation", "tanh")
    expected = preset("original", epochs=3, activation="tanh")
    assert found == replace(expected, workdir=found.workdir)
    assert (found.epochs, found.model.activation, found.optimizer.batch_size) == (3, "tanh", 256)
    connected = config_of("--preset", "original", "--model", "fully_connected")
    assert (connected.model.name, connected.optimizer.batch_size) == ("fully_connected", 256)


def test_the_default_workdir_carries_the_name_of_the_preset(config_of):
    def folder(*arguments):
        return config_of(*arguments).workdir_path()

    runs = Path("runs").absolute()
    assert folder() == runs / "convolutional-mnist_5k"
    assert folder("--preset", "original") == runs / "original-mnist_5k"
    other = ("--preset", "original", "--dataset", "emnist/balanced:3.1.0")
    assert folder(*other) == runs / "original-emnist-balanced-3.1.0"
    assert folder("--preset", "original", "--workdir", "mine") == Path("mine").absolute()


def test_help_lists_every_preset_with_its_purpose(capsys, monkeypatch):
    flags = {"filters": "auto", "dense_units": (512, 9), "corrupt": ("affine", "mask")}
    monkeypatch.setitem(PRESETS, "mine", Preset("for this test", flags))
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = "".join(capsys.readouterr().out.split())  # lines may be broken inside words
    assert f"--preset{{{','.join(PRESETS)}}}" in text
    for name, each in PRESETS.items():
        entry = f"{name}: {each.purpose} ({command_line(each.flags)})"
        assert "".join(entry.split()) in text
    entry = "mine: for this test (--filters auto --dense-units 512 9 --corrupt affine mask)"
    assert "".join(entry.split()) in text


def default_of(name):
    """As the help shows the default of an option that depends on the model."""
    value, recipe = getattr(OptimizerConfig(), name), FullyConnectedConfig.recipe
    return f"{value}; fully_connected {recipe[name]}" if name in recipe else str(value)


def test_help_shows_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert FullyConnectedConfig.recipe, "else no default depends on the model"
    for flag, default in {
        "--model": "convolutional",
        "--filters": "16 8 8",
        "--hidden-units": "128 64 32",
        "--downsample": "max_pool",
        "--latent-dim": None,
        "--activation": ConvolutionalConfig().activation,
        "--dense-units": None,
        "--train-limit": None,
        "--corrupt": None,
        "--rotation": "15.0",
        "--shear": "10.0",
        "--scaling": "0.1",
        "--translation": "0.07",
        "--mask-size": "0.3",
        "--dropout-rate": "0.0",
        "--noise-factor": "0.0",
        "--dataset": "mnist_5k",
        "--data-dir": None,
        "--manual-dir": None,
        "--workdir": None,
        "--epochs": "50",
        "--batch-size": default_of("batch_size"),
        "--learning-rate": default_of("learning_rate"),
        "--schedule": default_of("schedule"),
        "--warmup": default_of("warmup"),
        "--beta2": default_of("beta2"),
        "--learning-rate-decay": default_of("learning_rate_decay"),
        "--decay-steps": default_of("decay_steps"),
        "--weight-decay": default_of("weight_decay"),
        "--layout": "NHWC",
        "--dtype": "float32",
        "--seed": "0",
    }.items():
        entry = text.split(" options: ", 1)[1]
        after = re.split(rf" {flag} (?=[A-Z]+ |\[N|\[?{{)", entry, maxsplit=1)[1]
        after = re.split(r" --[a-z0-9-]+ (?=[A-Z]+ |\[N|\[?{)", after, maxsplit=1)[0]
        kind, value = re.findall(r"\((default|none): ([^)]*)\)", after)[0]
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--filters", "auto", "8"), "filters is ('auto', 8); expected "),
        (("--dense-units", "auto"), "dense_units is 'auto'; expected tuple[int, ...]"),
        (("--filters", "16", "auto"), "filters is (16, 'auto'); expected tuple[int, ...] | auto ("),
    ],
)
def test_a_word_in_place_of_numbers_stands_alone_and_where_it_is_known(arguments, message):
    """In a process of its own, because the tests check types of their own."""
    command = [sys.executable, "run.py", "train", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"flaxae: error: {message}")
    assert done.stderr.count("\n") == 1
