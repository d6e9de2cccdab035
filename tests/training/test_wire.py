"""The star of sockets, its ends in threads of one process."""

import contextlib
import logging
import socket
import threading
import time

import pytest

from flaxae.errors import InputError
from flaxae.training import ProcessesConfig, links, signs, wire
from flaxae.training.hub import Hub
from flaxae.training.spoke import Spoke

NAMES = ["process 0 of 3 (a)", "process 1 of 3 (b)", "process 2 of 3 (c)"]


class Star:
    """Three connected ends, and the failures that each was told of."""

    def __init__(self, patience=60.0):
        pairs = {index: socket.socketpair() for index in (1, 2)}
        self.failures = {index: [] for index in range(3)}
        hub_ends = {index: pair[0] for index, pair in pairs.items()}
        self.ends: list[wire.Wire] = [Hub(hub_ends, NAMES, patience, self.failures[0].append)]
        for index, (_, link) in pairs.items():
            self.ends.append(Spoke(link, index, NAMES, patience, self.failures[index].append))
        self.links = {index: pair[1] for index, pair in pairs.items()}

    def close(self):
        for end in self.ends:
            end._is_over = True
        for index in self.links:
            self.cut(index)
        time.sleep(0.05)  # each end closes what it reads

    def told(self, index):
        """The failure that an end is told of."""
        end = time.monotonic() + 10
        while not self.failures[index] and time.monotonic() < end:
            time.sleep(0.01)
        (failure,) = self.failures[index]
        return failure

    def cut(self, index):
        """As the kernel does with the connections of a killed process."""
        with contextlib.suppress(OSError):
            self.links[index].shutdown(socket.SHUT_RDWR)


@pytest.fixture
def star():
    star = Star()
    yield star
    star.close()


def in_threads(star, work):
    results = {}

    def run(index):
        results[index] = work(star.ends[index])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return [results[index] for index in range(3)]


def test_all_get_the_values_of_all_in_order(star):
    found = in_threads(star, lambda end: [end.gather("a", end.index), end.gather("a", "x")])
    assert found == [[[0, 1, 2], ["x", "x", "x"]]] * 3


def test_an_answer_can_be_fetched_later(star):
    def work(end):
        keys = [end.ask("stop", [end.index, turn]) for turn in range(3)]
        return [end.answer(key) for key in keys]

    expected = [[[0, turn], [1, turn], [2, turn]] for turn in range(3)]
    assert in_threads(star, work) == [expected] * 3


@pytest.mark.parametrize("lost", [1, 2])
def test_all_others_know_who_is_gone(star, lost):
    star.ends[lost]._is_over = True
    star.cut(lost)
    for other in {0, 1, 2} - {lost}:
        assert star.told(other).status == 1
        assert star.told(other).line.startswith(f"{NAMES[lost]} is gone without a word")


def test_the_loss_of_process_0_is_known(star):
    star.ends[0]._is_over = True
    for link in star.ends[0]._sockets.values():
        link.shutdown(socket.SHUT_RDWR)
    for index in (1, 2):
        assert star.told(index).line.startswith("process 0 of 3 (a) is gone without a word")


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_reaches_all_others(star, failing):
    star.ends[failing].fail(2, "process x: no such folder")
    for other in {0, 1, 2} - {failing}:
        assert star.told(other) == (2, "process x: no such folder")
    assert star.failures[failing] == []


def test_a_regular_end_is_no_failure(star):
    def work(end):
        if end.index:
            end.leave()
            star.cut(end.index)
        else:
            end.leave()

    in_threads(star, work)
    time.sleep(0.1)
    assert star.failures == {0: [], 1: [], 2: []}


def test_who_is_late_is_said_and_then_given_up(monkeypatch, caplog):
    monkeypatch.setattr(wire, "TICK", 0.02)
    monkeypatch.setattr(signs, "FIRST_NOTE", 0.05)
    star = Star(patience=0.4)
    with caplog.at_level(logging.INFO, "flaxae.processes"):
        star.ends[1].ask("the first step", None, patient=False)
        assert star.told(0).line.startswith(
            "process 0 of 3 (a), process 2 of 3 (c) did not come to 'the first step' within"
        )
    assert "waiting for process 0 of 3 (a), process 2 of 3 (c) at" in caplog.text
    for index in (1, 2):
        assert star.told(index) == star.told(0)
    star.close()


def test_a_patient_question_is_not_given_up(monkeypatch):
    monkeypatch.setattr(wire, "TICK", 0.02)
    star = Star(patience=0.1)
    star.ends[1].ask("the images", None, patient=True)
    time.sleep(0.4)
    assert star.failures == {0: [], 1: [], 2: []}
    star.close()


@pytest.fixture
def short(monkeypatch):
    """A star that gives up one that is silent after a second."""
    monkeypatch.setattr(wire, "TICK", 0.02)
    monkeypatch.setattr(signs, "SIGN", 0.02)
    monkeypatch.setattr(signs, "FIRST_NOTE", 0.2)
    star = Star(patience=1.0)
    yield star
    star.close()


def test_one_that_is_silent_is_named_and_then_given_up(short, caplog):
    caplog.set_level(logging.INFO, logger="flaxae.processes")
    time.sleep(0.5)
    assert "no sign" not in caplog.text  # nobody is asked for anything, and all live
    short.ends[2]._is_over = True  # its signs end, as those of a stopped process
    failure = short.told(1)
    assert failure.status == 1
    assert failure.line.startswith("process 2 of 3 (c) gave no sign of life within 0.01")
    assert any(m.startswith("waiting for process 2 of 3 (c), no sign") for m in caplog.messages)
    assert not any("process 1" in message for message in caplog.messages)
    assert not any("process 0" in message for message in caplog.messages)


def test_the_others_give_up_process_0_too(short, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="flaxae.processes")
    monkeypatch.setattr(short.ends[0], "_tell", lambda *message: None)
    for index in (1, 2):
        assert short.told(index).line.startswith("process 0 of 3 (a) gave no sign of life within")
    assert any(m.startswith("waiting for process 0 of 3 (a), no sign") for m in caplog.messages)


def test_time_in_which_a_process_was_stopped_itself_does_not_count(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="flaxae.processes")
    monkeypatch.setattr(signs, "FIRST_NOTE", 3.5)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    others = signs.SignsOfLife([1])
    for now[0] in (0.5, 1.0, 1000.0, 1000.5):
        assert others.look(NAMES, 5.0, (), ()) is None
    assert others.lately() == [1]
    for now[0] in range(1001, 1004):
        assert others.look(NAMES, 5.0, (), ()) is None
    assert others.lately() == []  # no more signs are sent to it
    now[0] = 1004.0
    assert others.look(NAMES, 5.0, (), ()) == NAMES[1]
    others.heard(1)
    assert others.lately() == [1]
    now[0] = 1005.0
    assert others.look(NAMES, 5.0, (), ()) is None


def test_strangers_are_not_let_in():
    server = links.listen()
    address = ("127.0.0.1", server.getsockname()[1])
    found = {}

    def accept():
        found["links"], found["names"] = links.accept(server, 2, "token", "zero", 10.0)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    stranger = socket.create_connection(address)
    stranger.sendall(b'{"token": "guessed", "index": 1, "name": "x"}\n')
    link, names = links.connect(address, 1, "token", "one", 10.0)
    thread.join(10)
    assert names == found["names"] == ["zero", "one"]
    for each in (stranger, link, *found["links"].values()):
        each.close()


def test_one_that_does_not_come_is_an_error():
    with pytest.raises(TimeoutError):
        links.accept(links.listen(), 2, "token", "zero", 0.1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "a:1"}, "got only a:1; expected all three, or none"),
        ({"coordinator": "a", "processes": 2, "process_id": 0}, "expected HOST:PORT"),
        ({"coordinator": "a:99999", "processes": 2, "process_id": 0}, "expected HOST:PORT"),
        (
            {"coordinator": "a:1", "processes": 2, "process_id": 2},
            "--process-id got 2; expected 0 to 1",
        ),
        ({"wait_minutes": 0.0}, "--wait-minutes got 0"),
        ({"wait_minutes": 2e6}, "--wait-minutes got 2000000.0; expected minutes above 0, below 1"),
    ],
)
def test_flags_that_name_no_processes_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        ProcessesConfig(**flags)


def test_a_port_of_thousands_of_digits_is_one_short_line():
    with pytest.raises(InputError, match="expected HOST:PORT") as error:
        ProcessesConfig(coordinator="h:" + "9" * 5000, processes=2, process_id=0)
    assert len(str(error.value)) < 200


def test_when_several_processes_are_wanted():
    assert not ProcessesConfig().is_wanted
    assert ProcessesConfig(distributed=True).is_wanted
    assert ProcessesConfig(coordinator="[::1]:80", processes=1, process_id=0).is_wanted
