import os
import sys

import pytest

from benchmarks.common.workers import WorkerFailed, explanation, resident


def echo(word: str) -> str:
    if word == "end":
        sys.exit(3)
    if word == "abort":
        os.write(2, b"F0001 thread.cc:7] Check failed: it could not start\n  @ 0x7f main\n")
        os.abort()
    if word == "fail":
        raise ValueError("no")
    print("what a library prints")
    return f"heard {word}"


def test_workers_stay_and_answer_and_end():
    with resident({"A": echo, "B": echo}) as workers:
        heard = [workers[name].ask(word) for name, word in [("A", "x"), ("B", "y")] * 2]
        assert heard == ["heard x", "heard y"] * 2
        processes = [worker.process for worker in workers.values()]
        assert all(process.is_alive() for process in processes)
    assert [process.exitcode for process in processes] == [0, 0]


def test_a_failed_worker_is_reported_with_its_reason():
    with resident({"A": echo}) as workers:
        with pytest.raises(WorkerFailed, match=r"^A: ValueError: no$"):
            workers["A"].ask("fail")
        with pytest.raises(WorkerFailed, match=r"^A ended with status 3"):
            workers["A"].ask("end")
        with pytest.raises(WorkerFailed, match=r"^A ended"):
            workers["A"].ask("x")


def test_a_worker_that_aborts_says_why():
    with resident({"A": echo}) as workers, pytest.raises(WorkerFailed) as failed:
        workers["A"].ask("abort")
    cause = "F0001 thread.cc:7] Check failed: it could not start | Fatal Python error: Aborted"
    assert str(failed.value) == f"A was ended by SIGABRT: {cause}"


def test_without_a_known_cause_the_last_lines_are_shown():
    assert explanation(1, "one\n\ntwo\nthree\nfour\nfive\n") == (
        "ended with status 1: two | three | four | five"
    )
    assert explanation(-9, "") == "was ended by SIGKILL"
