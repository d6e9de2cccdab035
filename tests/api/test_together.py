"""What processes decide together, seen from one that is not the first."""

import pytest

from flaxae.api import together
from flaxae.config.serialization import to_json
from flaxae.errors import InputError
from flaxae.runs.stop_signal import StopSignal
from flaxae.runs.workdir import DatasetInfo
from flaxae.training import processes

DATASET = DatasetInfo("tiny", (9, 7, 1), ("a",), {"train": 50}, "abc")


@pytest.fixture
def second(monkeypatch):
    """This is process 1 of 2; the function sets what process 0 says."""

    def hears(value):
        monkeypatch.setattr(processes, "from_first", lambda what, own: value)
        monkeypatch.setattr(processes, "gather", lambda what, own=None, patient=False: [value, own])

    monkeypatch.setattr(processes, "is_first", lambda: False)
    monkeypatch.setattr(processes, "name", lambda: "process 1 of 2 (b)")
    return hears


def test_a_folder_that_only_process_0_sees_is_named(second, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(together, "_STALE", 0.0)
    second(to_json(tiny_config))
    named = r"process 1 of 2 \(b\) does not see the --workdir .*run of process 0"
    claimed = together.claim_together(tmp_path / "run", tiny_config, DATASET, restart=False)
    with pytest.raises(InputError, match=named), claimed:
        pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(to_json(tiny_config))
    claimed = together.claim_together(tmp_path / "run", tiny_config, DATASET, restart=False)
    with claimed as config:
        assert config == tiny_config


def test_other_images_are_named(second, tiny_config):
    flags = dict(together._options(together.dataclasses.asdict(tiny_config)))
    second({"flags": flags, "images": ["other", {"train": 50}, ["a"]]})
    with pytest.raises(InputError, match="process 1 sees other images at tiny than process 0"):
        together.require_alike(tiny_config, DATASET)
    second({"flags": flags, "images": ["abc", {"train": 50}, ["a"]]})
    together.require_alike(tiny_config, DATASET)


def test_a_signal_to_one_is_known_to_all(second):
    term, interrupt = StopSignal(), StopSignal()
    second([None, 15])
    together.share_signals([interrupt, term])
    assert (interrupt.received, term.received) == (None, 15)
    assert processes.stop_is_agreed()
    processes._stop_is_agreed = False
