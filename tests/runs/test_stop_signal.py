import os
import signal

import pytest

from flaxae.runs.stop_signal import stop_signal


@pytest.fixture(autouse=True)
def heeded():
    """However the tests were started: nohup has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_is_remembered_and_raises_nothing():
    with stop_signal() as stop:
        assert stop() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_one_acts_as_ever():
    with stop_signal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_was_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() is None
