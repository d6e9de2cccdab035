import os
import signal
import threading
from unittest.mock import Mock

import pytest

from flaxae.runs.stop_signal import StopSignal
from flaxae.training.loop import View

VIEW = Mock(spec=View)


@pytest.fixture(autouse=True)
def default_handler():
    """The same however the tests were started: nohup makes SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stop():
    callback = StopSignal(signal.SIGINT, signal.SIGTERM)
    callback.on_start(VIEW)
    yield callback
    callback.on_end(VIEW)


def test_a_signal_stops_training_and_raises_nothing(stop):
    assert stop.received is None
    assert stop.on_call(VIEW) is stop.on_epoch(VIEW) is False
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == signal.SIGINT
    assert stop.on_call(VIEW) is stop.on_epoch(VIEW) is True


def test_the_handlers_are_restored_at_the_end():
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignal(signal.SIGINT, signal.SIGTERM)
    stop.on_start(VIEW)
    assert signal.getsignal(signal.SIGTERM) != before
    os.kill(os.getpid(), signal.SIGINT)
    stop.on_end(VIEW)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == before
    assert stop.received == signal.SIGINT


def test_the_first_signal_is_the_one_that_is_reported(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == signal.SIGTERM


def test_a_second_signal_acts_as_without_a_handler(stop):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = StopSignal(signal.SIGINT)
    stop.on_start(VIEW)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.received is None
    stop.on_end(VIEW)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_only_the_named_signals_are_caught():
    before = signal.getsignal(signal.SIGTERM)
    stop = StopSignal(signal.SIGINT)
    stop.on_start(VIEW)
    assert signal.getsignal(signal.SIGTERM) == before
    stop.on_end(VIEW)


def test_nothing_is_installed_outside_the_main_thread():
    """Python raises ValueError where another thread installs a handler."""
    stop, found, errors = StopSignal(signal.SIGINT), [], []

    def use():
        try:
            stop.on_start(VIEW)
            found.append(signal.getsignal(signal.SIGINT))
            assert stop.on_call(VIEW) is False
            stop.on_end(VIEW)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not errors
    assert found == [signal.default_int_handler]
