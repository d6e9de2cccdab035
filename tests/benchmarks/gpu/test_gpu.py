"""The command for the day with a GPU, on a CPU: its parts, and what becomes of those that fail."""

import json

import pytest

from benchmarks.common.command import run
from benchmarks.gpu import PARTS, Settings, part, parts
from benchmarks.gpu.parts import Outcome, Part, commands, run_part


def test_every_part_has_a_command(tmp_path):
    assert tuple(commands(tmp_path, smoke=False)) == PARTS
    assert set(part._FUNCTIONS) <= set(PARTS)


@pytest.mark.parametrize(
    ("code", "seconds", "failure"),
    [
        ("print('fine')", 60, None),
        ("raise SystemExit('no such device')", 60, "no such device"),
        ("import time; time.sleep(60)", 0.5, "took more than 0 seconds"),
    ],
)
def test_what_becomes_of_a_part(tmp_path, code, seconds, failure):
    outcome = run_part("some", Part(("-c", code), seconds), 100, tmp_path)
    assert outcome.failure == failure
    assert outcome.part == "some"


def test_a_part_without_time_is_left_out(tmp_path):
    outcome = run_part("some", Part(("-c", "print()"), 60), 1, tmp_path)
    assert outcome.failure == "left out: no time was left"


def test_files_of_a_part_that_failed_are_kept(tmp_path):
    (tmp_path / "own").mkdir()
    code = f"open({str(tmp_path / 'own/half.json')!r}, 'w').write('1'); raise SystemExit(1)"
    assert run_part("some", Part(("-c", code), 60), 100, tmp_path).files == ("own/half.json",)


def test_no_part_overwrites_the_files_of_another(tmp_path):
    """Two parts are of one benchmark, whose files have one name."""
    places = [
        (part.arguments[1], part.arguments[part.arguments.index("--output-dir") + 1])
        for part in commands(tmp_path, smoke=True).values()
        if "--output-dir" in part.arguments
    ]
    assert len(places) == len(set(places)) == 3


def test_the_device_of_an_earlier_run_is_not_that_of_this_one(tmp_path):
    old = {"result": {"device": {"kind": "of yesterday", "runtime": "cuda"}}}
    (tmp_path / "gpu-environment.json").write_text(json.dumps(old))
    flags = Outcome("flags", 1.0, None, ("gpu-flags.json",), "python")
    assert parts._described(tmp_path, [flags])["kind"] == "unknown device"
    own = flags._replace(files=("gpu-environment.json",))
    assert parts._described(tmp_path, [own])["kind"] == "of yesterday"


def test_the_command_runs_the_other_parts_after_one_that_failed(tmp_path, monkeypatch, capsys):
    """With one real part, the smallest, and one that fails."""
    every = commands(tmp_path, smoke=True)
    every["steps"] = Part(("-c", "raise SystemExit('broken')"), 60)
    monkeypatch.setattr(parts, "commands", lambda output_dir, smoke: every)
    flags = ["--smoke", "--parts", "steps", "flags", "--output-dir", str(tmp_path)]
    assert run(Settings, flags) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["parts"] == {"steps": "broken", "flags": "done"}
    written = json.loads((tmp_path / "gpu-flags.json").read_text())
    assert written["result"]["rows"]["as XLA has it"]["seconds_per_step"]["median"] > 0


def test_nothing_measured_is_a_failure(tmp_path, monkeypatch, capsys):
    broken = {"steps": Part(("-c", "raise SystemExit('broken')"), 60)}
    monkeypatch.setattr(parts, "commands", lambda output_dir, smoke: broken)
    flags = ["--smoke", "--parts", "steps", "--output-dir", str(tmp_path)]
    assert run(Settings, flags) == 1
    assert "no part was measured" in capsys.readouterr().err
