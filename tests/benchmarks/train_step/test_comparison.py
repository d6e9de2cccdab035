import math
import mmap
import os
import sys

import numpy as np
import pytest

from benchmarks.common.memory import peak_bytes
from benchmarks.common.steps import Program
from benchmarks.common.workers import WorkerFailed, resident
from benchmarks.train_step.comparison import (
    REFERENCE,
    SUBJECT,
    Proof,
    compare_losses,
    prove,
    time_bursts,
)
from benchmarks.train_step.worker import Burst, Session, losses, measure
from flaxae.errors import RunError


class Steps:
    """A program whose step takes two seconds of a fake clock, and a diary."""

    def __init__(self) -> None:
        self.now = 0.0
        self.diary: list[object] = []
        self.program = Program(
            self._restart, self._to_input, self._step, self._wait, np.asarray, "cpu"
        )

    def _restart(self) -> None:
        self.diary.append("restart")

    def _to_input(self, images: object) -> object:
        return images

    def _step(self, batch: object) -> object:
        self.diary.append(batch)
        return batch

    def _wait(self, pending: object) -> float:
        self.now += 2.0 * sum(entry != "wait" for entry in self.diary)
        self.diary.append("wait")
        return 0.5


def test_a_proof_restarts_and_blocks_on_every_step():
    steps = Steps()
    assert losses(steps.program, ["a", "b"], 3) == [0.5] * 3
    assert steps.diary == ["restart", "a", "wait", "b", "wait", "a", "wait"]


def test_a_burst_blocks_once_and_measures_the_share_of_a_step():
    steps = Steps()
    sample = measure(steps.program, ["a", "b", "a", "b"], clock=lambda: steps.now)
    assert steps.diary == ["a", "b", "a", "b", "wait"]
    assert sample.wall == 2
    assert sample.cpu >= 0
    assert sample.peak_bytes == pytest.approx(peak_bytes(), rel=0.2)


def test_faults_are_counted_for_each_step():
    pages = 4096

    def touch(batch: object) -> float:
        memory = mmap.mmap(-1, pages * os.sysconf("SC_PAGE_SIZE"))
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # else the system chooses pages, and so faults
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        np.frombuffer(memory, np.uint8)[:] = 1
        return 0.0

    program = Program(lambda: None, str, touch, float, np.asarray, "cpu")
    assert measure(program, ["a", "b"]).faults > 0.01 * pages  # huge pages are one fault each


def test_a_burst_needs_a_proof_before():
    with pytest.raises(ValueError, match="before any prove"):
        Session("linen", "plain", "convolutional")("burst", 1)


def test_a_worker_reports_what_it_cannot_import():
    session = Session("theano", "plain", "convolutional")
    with resident({"A": session}) as workers, pytest.raises(WorkerFailed, match="in_theano"):
        workers["A"].ask("greet")


class Diary:
    """A worker that only notes its requests."""

    def __init__(self, name: str, requests: list[str]) -> None:
        self.name, self.requests = name, requests

    def ask(self, request: str, steps: int) -> Burst:
        self.requests.append(f"{self.name} {steps}")
        return Burst(0.1, 0.1, 0, 1)


def test_bursts_are_interleaved():
    requests: list[str] = []
    names = (SUBJECT, "B", "C")
    workers = {name: Diary(name, requests) for name in names}
    proofs = dict.fromkeys(names, Proof(1, 0, True))
    results = time_bursts(workers, proofs, 2)  # type: ignore[arg-type]
    assert requests == [f"{name} 1" for name in names] + [f"{name} 3" for name in names] * 2
    assert results["B"].steps_per_burst == 3
    assert results["B"].wall_samples == [0.1] * 2


class Losses:
    """The function of a worker that replies the same losses to every proof."""

    def __init__(self, *losses: float) -> None:
        self.losses = list(losses)

    def __call__(self, *request: object) -> list[float]:
        return self.losses or sys.exit(1)


def test_a_peer_that_differs_or_fails_is_left_out_and_flaxae_must_agree(capsys):
    def run(answers: dict[str, Losses]) -> dict[str, Proof]:
        with resident({**answers, "PyTorch": Losses()}) as workers:
            return prove(workers, 32, 2)

    own = {SUBJECT: Losses(0.7, 0.60005), REFERENCE: Losses(0.7, 0.6)}
    proofs = run({**own, "flax.linen": Losses(0.7, 0.6002)})
    equal = {name: proof.equal for name, proof in proofs.items()}
    assert equal == {SUBJECT: True, REFERENCE: True, "flax.linen": False}
    assert capsys.readouterr().out == "not compared: PyTorch ended with status 1\n"
    with pytest.raises(RunError, match=r"at batch size 32 .* differ by 0\.001 nats"):
        run({**own, SUBJECT: Losses(0.7, 0.601)})


@pytest.mark.parametrize("wrong", [1.0002, math.nan, math.inf])
def test_a_difference_in_any_step_makes_losses_unequal(wrong: float):
    assert compare_losses([1, 1.00005], [1, 1]).equal
    assert not compare_losses([1, wrong, 1], [1, 1, 1]).equal
