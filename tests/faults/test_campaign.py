"""The campaign says that a case is lost where one is: a check that cannot fail is worth nothing."""

import dataclasses
import json
import os
import signal
import time
from types import SimpleNamespace

import pytest

from flaxae.commands.embed import Options as EmbedOptions
from flaxae.models import MODELS
from tests.faults import __main__ as campaign
from tests.faults import bad_input, judge, kills, resources, signals
from tests.faults.case import Case, spread
from tests.faults.process import Ended, start
from tests.faults.stage import Lost, Skipped

# From Python 3.12 on, it warns of forks in processes with threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # JAX's, if a test before used it
]
GOOD = "flaxae: error: --epochs got 0; expected a whole number from 1\n"


EVALUATED = SimpleNamespace(
    expected={
        "step": 4,
        "evaluate 2": {"step": 2, "loss": 1, "embedding": {"pictures": "there"}},
        "evaluate 4": {"step": 4, "embedding": {"pictures": "there"}},
    },
    evaluated=lambda ended: json.loads(ended.stdout.splitlines()[-1]),
)


def evaluation(pictures="there", **values):
    return json.dumps({**values, "embedding": {"pictures": pictures}}) + "\n"


def ended(status=2, stderr=GOOD, stdout="", seconds=0.5, hung=False, left=0):
    return Ended("run.py train", status, stdout, stderr, seconds, hung, left)


def test_one_line_with_status_1_or_2_is_a_refusal():
    judge.check_refusal(ended())
    judge.check_refusal(ended(1, "note: 60 images are in the store\n" + GOOD))


@pytest.mark.parametrize(
    "bad",
    [
        ended(0),
        ended(3),
        ended(-signal.SIGSEGV),
        ended(stderr=""),
        ended(stderr=GOOD * 2),
        ended(stderr="flaxae: error: [Errno 28] No space left on device\n"),
        ended(stderr="flaxae: error: it failed\n"),
        ended(stderr="Traceback (most recent call last):\n" + GOOD),
        ended(stderr=GOOD + "Exception ignored in: <stdout>\n"),
        ended(seconds=21),
        ended(hung=True),
        ended(left=1),
    ],
)
def test_what_is_no_refusal(bad):
    with pytest.raises(Lost):
        judge.check_refusal(bad)


def test_a_signal_ends_by_128_and_its_number():
    judge.check_signal(ended(143, "stopped by SIGTERM\n"), signal.SIGTERM, wants_line=True)
    judge.check_signal(ended(129, ""), signal.SIGHUP, wants_line=False)
    for status, stderr in ((0, "stopped\n"), (143, "")):
        with pytest.raises(Lost):
            judge.check_signal(ended(status, stderr), signal.SIGTERM, wants_line=True)


ROWS = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]


@pytest.mark.parametrize(
    ("found", "stderr", "survives"),
    [
        ({"rows": ROWS, "weights": "a"}, "", True),
        ({"rows": ROWS, "weights": "b"}, "", False),
        ({"rows": ROWS[1:], "weights": "a"}, "", False),
        ({"rows": ROWS[1:], "weights": "a"}, "metrics.jsonl lacks epoch 1\n", True),
        ({"rows": [*ROWS, ROWS[1]], "weights": "a"}, "metrics.jsonl lacks epoch 1\n", False),
        ({"rows": [{"epoch": 1, "loss": 9}], "weights": "a"}, "metrics.jsonl\n", False),
    ],
)
def test_other_numbers_are_lost(found, stderr, survives):
    expected = {"run": {"rows": ROWS, "weights": "a"}}
    stage = SimpleNamespace(numbers=lambda workdir: found, expected=expected)
    if survives:
        judge.check_numbers(stage, ended(0, stderr))
    else:
        with pytest.raises(Lost):
            judge.check_numbers(stage, ended(0, stderr))


def test_another_checkpoint_has_to_be_named():
    other = evaluation(step=2, loss=1)
    judge.check_evaluated(EVALUATED, ended(0, "checkpoint 4 is damaged; passed over\n", other))
    for stdout in (other, evaluation(step=4, loss=1)):
        with pytest.raises(Lost):
            judge.check_evaluated(EVALUATED, ended(0, "", stdout))


def test_pictures_that_are_left_out_have_to_be_told():
    without = evaluation(step=4, pictures=None)
    judge.check_evaluated(EVALUATED, ended(0, "warning: no pictures in run/evaluation\n", without))
    with pytest.raises(Lost):
        judge.check_evaluated(EVALUATED, ended(0, "", without))
    other = evaluation(step=4, loss=1, pictures=None)
    with pytest.raises(Lost):
        judge.check_evaluated(EVALUATED, ended(0, "warning: no pictures\n", other))


@pytest.mark.parametrize(
    "name", [".config.json.4711", "checkpoints/3.orbax-checkpoint-tmp", "photos-1.partial"]
)
def test_what_is_left_behind_is_found(tmp_path, name):
    stage = SimpleNamespace(path=lambda place: tmp_path / place)
    (tmp_path / "tmp").mkdir()
    judge.check_clean(stage, "run")
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(Lost, match="left behind in run"):
        judge.check_clean(stage, "run")


def python(tmp_path, code, **options):
    return start((), tmp_path, os.environ, tmp_path, program=("-c", code), **options)


def test_a_process_is_watched_to_its_end(tmp_path):
    found = python(tmp_path, "import sys; print('out'); sys.exit('why')").wait(20)
    assert (found.status, found.stdout, found.stderr) == (1, "out\n", "why\n")
    assert not found.hung
    assert not found.left


def test_a_process_that_hangs_is_killed_and_found(tmp_path):
    found = python(tmp_path, "import time; time.sleep(600)").wait(0.5)
    assert found.hung
    assert found.status == 128 + signal.SIGKILL


def test_a_process_that_is_left_behind_is_found_and_ended(tmp_path):
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    found = python(tmp_path, code).wait(20)
    assert found.left == 1
    time.sleep(0.1)
    state = campaign.Path(f"/proc/{found.stdout.strip()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"


@pytest.mark.skipif(os.geteuid() != 0, reason="permissions hold for everybody but root")
def test_permissions_hold_for_children_of_root(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    found = python(tmp_path, "import os; os.listdir('closed')").wait(20)
    assert "PermissionError" in found.stderr


class FakeStage:
    """A stage without a run."""

    folder = campaign.Path("/base/stage-0")
    commands = ("train",)

    def restore(self):
        pass


def _raise(error):
    raise error


def test_lost_and_failed_cases_are_lost_and_skipped_ones_are_not_tried():
    acts = {
        "kills/a": lambda stage: None,
        "kills/b": lambda stage: _raise(Lost(f"in /base/stage-0/run, {campaign.ROOT}/run.py")),
        "damage/c": lambda stage: _raise(KeyError("of the campaign")),
        "damage/d": lambda stage: _raise(Skipped("no root")),
    }
    results = [campaign.run_case(Case(name, act), FakeStage()) for name, act in acts.items()]
    record = campaign.summary(results, seed=0)
    assert (record["tried"], record["survived"], record["lost"], record["skipped"]) == (3, 1, 2, 1)
    assert [each["name"] for each in record["lost_cases"]] == ["damage/c", "kills/b"]
    assert record["lost_cases"][1]["came"] == "in STAGE/run, CHECKOUT/run.py"
    assert record["skipped_cases"] == {"damage/d": "no root"}
    assert record["kinds"]["kills"] == {"tried": 2, "lost": 1}


@pytest.mark.parametrize(("lost", "status"), [(None, 0), ("other numbers", 1)])
def test_the_exit_status_says_whether_a_case_was_lost(monkeypatch, capsys, lost, status):
    result = campaign.Result(Case("kills/a", lambda stage: None), lost, None, [], 1.0)
    monkeypatch.setattr(campaign, "_campaign", lambda given, base: [result])
    monkeypatch.setattr(campaign, "_own_mounts", lambda: None)
    assert campaign.main(["--kills", "1"]) == status
    assert json.loads(capsys.readouterr().out)["lost"] == status


def test_every_flag_has_bad_values():
    names = {case.name for case in bad_input.cases()}
    for command, classes in {"train": MODELS.values(), "embed": [EmbedOptions]}.items():
        for f in (f for cls in classes for f in dataclasses.fields(cls)):
            flag = f"bad-input/{command}/--{f.name.replace('_', '-')}/"
            assert sum(name.startswith(flag) for name in names) >= 3, flag
    assert len(names) >= 300


def test_a_new_flag_gets_bad_values(monkeypatch):
    parsers = bad_input._parsers()
    parsers["embed"].add_argument("--new-flag", type=float)
    monkeypatch.setattr(bad_input, "_parsers", lambda: parsers)
    assert "bad-input/embed/--new-flag/nan" in {case.name for case in bad_input.cases()}


def test_names_are_unique_and_kills_depend_on_the_seed():
    cases = [*kills.cases(40, 0), *resources.cases(), *signals.cases(), *bad_input.cases()]
    assert len({case.name for case in cases}) == len(cases)
    moments = [[case.detail for case in kills.cases(9, seed)] for seed in (0, 0, 1)]
    assert moments[0] == moments[1] != moments[2]


def test_spread_takes_the_wanted_number():
    cases = [Case(str(number), lambda stage: None) for number in range(10)]
    assert [case.name for case in spread(cases, 3)] == ["0", "3", "6"]
    assert spread(cases, None) == spread(cases, 99) == cases
