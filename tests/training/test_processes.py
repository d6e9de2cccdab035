"""A run of one process; several real ones are in tests/processes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.errors import InputError, RunError
from flaxae.training import ProcessesConfig, processes


def test_one_process_decides_alone():
    assert (processes.index(), processes.count(), processes.name()) == (0, 1, None)
    assert processes.is_first()
    assert processes.gather("a", 3) == [3]
    assert processes.from_first("a", "x") == "x"
    processes.leave()
    processes.fail(1, "nobody hears it")


def test_one_process_does_not_wait():
    order = []
    with processes.first_alone("the images"):
        order.append("block")
    assert order == ["block"]


def test_one_process_stops_at_once():
    agreement = processes.Agreement()
    assert [agreement.soon(wish) for wish in (False, True, False)] == [False, True, False]
    assert [agreement.now(wish) for wish in (False, True)] == [False, True]


def test_the_arrays_of_one_process_stay_where_they_are():
    tree = {"a": jnp.ones(2), "b": 3}
    assert processes.local(tree) is tree


def test_processes_that_have_not_been_joined_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match=r"call flaxae\.training\.processes\.join in place of"):
        processes.count()


class Recorder:
    """In place of the star: notes what is asked, and answers with values of another process."""

    def __init__(self, index, other=None):
        self.index, self.count, self.other = index, 2, other
        self.names = ["process 0 of 2 (a)", "process 1 of 2 (b)"]
        self.events = []

    def gather(self, name, value=None, patient=True):
        self.events.append(name)
        return [value, self.other] if self.index == 0 else [self.other, value]

    def ask(self, name, value, patient=True):
        self.events.append(f"ask {name}")
        return name

    def answer(self, key):
        return [False, self.other]


@pytest.fixture
def joined(monkeypatch):
    def join(index, other=None):
        monkeypatch.setattr(processes, "_joined", Recorder(index, other))
        return processes._joined

    return join


@pytest.mark.parametrize(("index", "expected"), [(0, ["block", "a"]), (1, ["a", "block"])])
def test_process_0_is_alone_while_the_others_wait(joined, index, expected):
    star = joined(index)
    with processes.first_alone("a"):
        star.events.append("block")
    assert star.events == expected


def test_the_value_of_process_0_is_taken(joined):
    joined(1, other="first")
    assert processes.from_first("a", "mine") == "first"


def test_the_wish_of_another_process_is_known_a_call_later(joined):
    star = joined(0, other=True)
    agreement = processes.Agreement()
    assert [agreement.soon(False), agreement.soon(False)] == [False, True]
    assert agreement.now(False)
    assert star.events == ["ask the next steps", "ask the next steps", "the end of an epoch"]


def test_processes_with_other_devices_are_named(joined):
    devices = jax.local_devices()
    joined(0, other=[len(devices) + 1, devices[0].device_kind])
    with pytest.raises(RunError, match=r"process 1 of 2 \(b\) has 3 x cpu, and process 0 has 2 x"):
        processes._require_equal_devices()


def test_devices_that_cannot_be_connected_are_one_line(joined, monkeypatch):
    joined(0)

    def fail(*_):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: Gloo: connection reset\nmore")

    monkeypatch.setattr(jax, "make_array_from_process_local_data", fail)
    line = (
        r"cannot be connected \(UNAVAILABLE: Gloo: connection reset\); see that the machines reach"
    )
    with pytest.raises(RunError, match=line):
        processes._first_collective()


def test_a_device_that_is_missing_where_processes_join_is_bad_input(monkeypatch):
    def fail():
        raise RuntimeError("Unable to initialize backend 'cuda': no device. More")

    monkeypatch.setattr(processes, "_initialize", lambda config, seconds: None)
    monkeypatch.setattr(jax, "process_index", fail)
    config = ProcessesConfig(coordinator="localhost:1", processes=2, process_id=0)
    with pytest.raises(InputError, match=r"no such device here \(Unable to .* no device\); unset"):
        processes.join(config, on_failure=lambda failure: None)


def test_all_have_come_before_rows_are_joined(joined, monkeypatch):
    star = joined(0)

    def join(arrays, tiled):
        star.events.append("collective")
        return arrays

    monkeypatch.setattr(processes.multihost_utils, "process_allgather", join)
    processes.join_rows("the results", [np.ones(2)])
    assert star.events == ["the results", "collective"]
