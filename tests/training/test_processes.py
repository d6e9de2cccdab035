"""A run of one process; several real ones are in tests/processes."""

import jax
import jax.numpy as jnp
import pytest

from flaxae.errors import InputError
from flaxae.training import processes


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
