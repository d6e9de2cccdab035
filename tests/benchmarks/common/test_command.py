import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common.command import Settings, parse, run
from benchmarks.layouts import Settings as Layouts
from benchmarks.quality import Settings as Quality
from benchmarks.scaling import Settings as Scaling
from benchmarks.time_to_quality import Settings as TimeToQuality
from benchmarks.train_step import Settings as TrainStep
from benchmarks.whole_run import Settings as WholeRun
from flaxae.errors import InputError, RunError

_ROOT = Path(__file__).parents[3]
_FILE = __file__
_ALL = (Layouts, TrainStep, Scaling, WholeRun, Quality, TimeToQuality)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        *((kind, ["--output-dir", _FILE]) for kind in _ALL),
        *((kind, ["--repeats", "0"]) for kind in _ALL[:-2]),
        *((kind, ["--unknown"]) for kind in _ALL),
        (Layouts, ["--batch-sizes", "64", "x"]),
        (Layouts, ["--dtypes", "float16"]),
        (Layouts, ["--batch", "64"]),
        (TrainStep, ["--batch-sizes", "64", "x"]),
        (TrainStep, ["--models", "transformer"]),
        (TrainStep, ["--peers", "theano"]),
        (Scaling, ["--sweeps", "depth"]),
        (Scaling, ["--sweeps"]),
        (Scaling, ["--rep", "3"]),
        (Quality, ["--datasets", "cifar"]),
        (TimeToQuality, ["--forms", "theano"]),
        (TimeToQuality, ["--epochs", "0"]),
    ],
)
def test_a_wrong_flag_is_reported_in_one_line(kind: type[Settings], flags: list[str], capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(kind, flags)
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"benchmarks.{kind.question}: error: ")
    assert flags[0] in line
    assert captured.out == "" or kind in (TrainStep, TimeToQuality)


@pytest.mark.parametrize("room", [kind.question for kind in _ALL])
def test_help_and_wrong_flags_answer_without_jax(room: str, tmp_path: Path):
    # A module named jax that fails: what does not import it does not notice.
    (tmp_path / "jax.py").write_text("raise SystemExit('imported')")

    def start(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"benchmarks.{room}", *flags],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{_ROOT}"},
            cwd=tmp_path,
        )

    shown = start("--help")
    assert shown.returncode == 0
    assert "--smoke" in shown.stdout
    refused = start("--output-dir", str(tmp_path / "jax.py"))
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1


def test_choices_are_taken_once_and_other_lists_as_they_are():
    settings = parse(Layouts, ["--dtypes", "float32", "float32", "--filters", "8", "8"])
    assert settings.dtypes == ("float32",)
    assert settings.filters == (8, 8)


def test_smoke_overrides_what_takes_time():
    settings = parse(Layouts, ["--smoke", "--repeats", "50"])
    assert settings.repeats == 3
    assert all(parse(kind, ["--smoke"]).smoke for kind in _ALL)


class Failing(Settings):
    """A benchmark that fails."""

    question = "failing"
    measure = f"{__name__}:fail"
    smoke_values = {}  # noqa: RUF012


def fail(settings: Settings) -> None:
    raise _ERRORS[0]


_ERRORS: list[BaseException] = []


@pytest.mark.parametrize(
    ("error", "status"),
    [(InputError("no"), 2), (RunError("no"), 1), (OSError("no"), 1), (KeyboardInterrupt(), 130)],
)
def test_an_error_becomes_an_exit_status(error: BaseException, status: int, capsys, tmp_path):
    _ERRORS[:] = [error]
    assert run(Failing, ["--output-dir", str(tmp_path)]) == status
    expected = "" if status == 130 else "benchmarks.failing: error: no\n"
    assert capsys.readouterr().err == expected
