"""What processes decide together, seen from one that is not the first."""

import optax
import pytest
from flax.training.train_state import TrainState

from flaxae.api import together
from flaxae.config import TrainConfig
from flaxae.config.serialization import to_json
from flaxae.errors import InputError, RunError
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.runs.checkpoint_folder import Progress, Restored
from flaxae.runs.checkpoints import Checkpoints
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
    flags = together._flags(tiny_config)
    second({"flags": flags, "images": ["other", {"train": 50}, ["a"]]})
    with pytest.raises(InputError, match="process 1 sees other images at tiny than process 0"):
        together.require_alike(tiny_config, DATASET)
    second({"flags": flags, "images": ["abc", {"train": 50}, ["a"]]})
    together.require_alike(tiny_config, DATASET)


def test_another_model_is_named(second, tiny_config):
    """Its flags have other names."""
    other = TrainConfig(model=FullyConnectedConfig())
    second({"flags": together._flags(other), "images": ["abc", {"train": 50}, ["a"]]})
    named = "process 1 was started with --model convolutional, and process 0 with fully_connected"
    with pytest.raises(InputError, match=named):
        together.require_alike(tiny_config, DATASET)


def test_other_weights_and_other_images_are_named(second, tiny_splits):
    second([7, 13])
    together.require_same_weights(7, tiny_splits["test"])
    for step, count in ((8, 13), (7, 12)):
        own = "process 1 has 13 images and the weights of step 7"
        first = f"process 0 has {count} and those of step {step}; give all the same"
        second([step, count])
        with pytest.raises(RunError, match=f"{own}, and {first}"):
            together.require_same_weights(7, tiny_splits["test"])


@pytest.mark.parametrize("first", [True, False])
def test_none_trains_before_all_have_restored(monkeypatch, first):
    """Or process 0 might remove the checkpoint that another still reads."""
    events = []
    state = TrainState(step=0, apply_fn=None, params={}, tx=optax.identity(), opt_state=())

    def gather(what, own=None, patient=False):
        events.append(what)
        return [7, own]

    class Kept(Checkpoints):
        def __init__(self):
            pass

        def restore(self, target, which="latest"):
            events.append(f"restore {which}")
            return Restored(target, Progress(1))

    def choose():
        return Kept().restore(state.replace(step=7), 7)

    monkeypatch.setattr(processes, "is_first", lambda: first)
    monkeypatch.setattr(processes, "gather", gather)
    found = together.restore_together(Kept(), state, choose)
    assert found.progress.epoch == 1
    told = ["the choice of a checkpoint", "restore 7"]
    assert events == [*(told[::-1] if first else told), "the restored weights"]


def test_a_signal_to_one_is_known_to_all(second):
    term, interrupt = StopSignal(), StopSignal()
    second([None, 15])
    together.share_signals([interrupt, term])
    assert (interrupt.received, term.received) == (None, 15)
    assert processes.stop_is_agreed()
    processes._stop_is_agreed = False
