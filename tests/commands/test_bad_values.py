"""Values that no flag of a type can have, for every flag of that type; a new flag is among them."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flaxae.commands import jax_start
from flaxae.commands.flags import flag_of
from flaxae.commands.jax_start import start_jax
from flaxae.commands.main import COMMANDS, main
from flaxae.commands.options import ProcessOptions
from flaxae.config import TrainConfig
from flaxae.config.flags import own_fields, sections
from flaxae.errors import InputError, option_types, path_options
from flaxae.models import MODELS
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.training import ProcessesConfig

MANY = "9" * 4000  # digits, which int() takes
TOO_MANY = "9" * 5000  # which int() refuses
INTEGERS = [TOO_MANY, MANY, f"-{MANY}", "1.5", "nan", "", "0x10", "one"]
FLOATS = ["nan", "inf", "-inf", "1e999", MANY, "", "one"]
PATHS = ["", "~nosuchuser/x", "x" * 300, "x/" * 3000, "bad\udcff", "null\0", "LOOP", "LOOP/x"]
PATHS += ["PIPE"]
# Text that names something inside a file, or one of a few things, and so is no path.
NO_PATHS = {"images_key", "labels_key", "checkpoint", "prune", "loss", "schedule", "corrupt"} | {
    "classes",
    "normal_classes",
    "score",
    "coordinator",
}


def options_of_train():
    """(dataclass, field, the words before its flag) of every flag of train."""
    seen = set()
    for name, model in MODELS.items():
        for cls in [*sections(model).values(), ProcessOptions]:
            for f in dataclasses.fields(cls):
                if f.name not in seen:
                    seen.add(f.name)
                    yield cls, f.name, ["train", "--model", name]
    yield from ((TrainConfig, name, ["train"]) for name in own_fields())


def options_of_others():
    for name, module in COMMANDS.items():
        if name != "train":
            required = ["--workdir", "w"] if name != "data" else []
            yield from (
                (module.Options, f.name, [name, *required])
                for f in dataclasses.fields(module.Options)
            )


def bad_values(cls, name):
    kind = words_of(cls, name)
    if name in path_options(cls):
        return PATHS
    if "float" in kind:
        return FLOATS
    if "int" in kind:
        return INTEGERS
    return [""] if "str" in kind else []


def words_of(cls, name):
    """The words of an option's type, as tuple, float, None."""
    return re.findall(r"\w+", str(option_types(cls)[name]))


CASES = [case for case in (*options_of_train(), *options_of_others()) if bad_values(*case[:2])]


@pytest.fixture
def loop(tmp_path, monkeypatch):
    """A link to itself and a pipe, in the current folder."""
    monkeypatch.chdir(tmp_path)
    os.symlink("LOOP", tmp_path / "LOOP")
    os.mkfifo(tmp_path / "PIPE")


@pytest.mark.parametrize(
    ("cls", "name", "words"), CASES, ids=lambda case: "" if isinstance(case, type) else str(case)
)
def test_a_value_that_no_such_flag_can_have_is_one_line(
    cls, name, words, loop, capsys, monkeypatch
):
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "run", lambda options: 0)
    for value in bad_values(cls, name):
        assert main([*words, f"{flag_of(name)}={value}"]) == 2, value[:50]
        captured = capsys.readouterr()
        assert captured.err.startswith("flaxae: error: ")
        assert captured.err.count("\n") == 1
        assert len(captured.err) < 700
        assert captured.out == ""
        assert flag_of(name) in captured.err or name in captured.err


def test_every_text_is_a_path_or_known_to_be_none():
    texts = {name for cls, name, _ in CASES if "str" in words_of(cls, name)}
    paths = {name for cls, name, _ in CASES if name in path_options(cls)}
    assert len(paths) >= 10
    words = {"filters"}  # numbers, or a word
    assert texts - paths - NO_PATHS - words == set()


def test_the_same_holds_for_python():
    with pytest.raises(InputError, match="--epochs got a number of 16610 bits; expected"):
        TrainConfig(epochs=10**5000)
    with pytest.raises(InputError, match="--workdir got an empty text; expected a value"):
        TrainConfig(workdir="")


def test_a_home_folder_that_is_not_known_is_one_line(monkeypatch, capsys):
    """As in a container without HOME whose user has no entry in passwd."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("FLAXAE_STORE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert main(["data", "--list"]) == 2
    err = capsys.readouterr().err
    assert err == (
        "flaxae: error: --store-dir got ~/.cache/flaxae/images, and that home folder is not known; "
        "give an absolute path, or set the variable HOME\n"
    )


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (["train", "--epoch", "3"], "--epoch 3; did you mean --epochs?; see"),
        (["train", "--leraning-rate=3"], "--leraning-rate=3; did you mean --learning-rate?; see"),
        (["embed", "--workdir", "w", "--outputdir", "3"], "did you mean --output-dir?; see"),
        (["train", "--zzzzzz"], "unrecognized arguments: --zzzzzz; see"),
    ],
)
def test_a_mistyped_flag_gets_a_similar_name(arguments, question, capsys):
    assert main(arguments) == 2
    assert question in capsys.readouterr().err


def test_a_device_that_is_not_there_is_one_line(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "nonsense"}
    command = [sys.executable, "run.py", "train", "--workdir", str(tmp_path / "run")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("flaxae: error: JAX_PLATFORMS is nonsense, and JAX finds no ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("37\nlines")])
def test_jax_without_a_device_is_bad_input(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr("jax.devices", fail)
    with pytest.raises(InputError, match="JAX_PLATFORMS is cpu, and JAX finds no such device"):
        start_jax(ConvolutionalConfig(), "off")


@pytest.mark.parametrize("error", [AssertionError("they do not add"), RuntimeError("UNAVAILABLE")])
def test_a_fault_while_processes_join_is_not_bad_input(error, monkeypatch):
    """After status 2, SLURM does not start the run again: see docs/clusters/train.sbatch."""

    def fail(options):
        raise error

    monkeypatch.setattr(jax_start, "join", fail)
    with pytest.raises(type(error), match=str(error)):
        start_jax(ConvolutionalConfig(), "off", several=ProcessesConfig(distributed=True))


@pytest.mark.parametrize("command", ["train", "evaluate", "reconstruct", "embed"])
@pytest.mark.parametrize("name", ["a[b]c", "a*", "a?"])
def test_a_workdir_that_orbax_would_not_find_again_is_refused(command, name, tmp_path, capsys):
    assert main([command, "--workdir", str(tmp_path / name)]) == 2
    err = capsys.readouterr().err
    path = tmp_path / name
    expected = f"expected a path without {name[1]}, which Orbax cannot read back"
    assert err == f"flaxae: error: --workdir got {path}; {expected}\n"
    assert not path.exists()
