"""Resident workers proven to train the same, then timed in turns."""

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.common.intervals import ratio_of_medians, summarize
from benchmarks.common.workers import Worker, WorkerFailed, ask, in_turns, receive, send
from benchmarks.train_step.rows import (
    REFERENCE,
    SUBJECT,
    VARIANTS,
    Proof,
    Result,
    StepsDiffer,
    compare_losses,
)

_SHORTEST_BURST = 0.25  # seconds: a burst's first step finds caches that others have filled
_MOST_STEPS = 200  # in a burst
_SPINNING = {variant.name for variant in VARIANTS if variant.spins}


def greet(workers: dict[str, Worker], versions: dict[str, str]) -> dict[str, Worker]:
    """Waits for all; returns those on flaxae's device, and adds what they run to `versions`.

    Raises:
        WorkerFailed: one of flaxae's own workers cannot go on.
    """
    greetings = {name: _unless_peer(partial(receive, w), name) for name, w in workers.items()}
    platform = (greetings[SUBJECT] or {})["device"]
    ready = {}
    for name, greeting in greetings.items():
        if greeting is None:
            continue
        if greeting["device"] == platform:
            versions |= greeting["versions"]
            ready[name] = workers[name]
        else:
            print(f"not compared: {name} runs on {greeting['device']}, flaxae on {platform}")
    return ready


def prove(workers: dict[str, Worker], batch_size: int, steps: int) -> dict[str, Proof]:
    """Trains all workers from the same weights on the same batches, and compares their losses.

    They compile and run at the same time, except those whose threads spin: nothing is timed yet.

    Raises:
        WorkerFailed: one of flaxae's own workers cannot go on.
        StepsDiffer: flaxae's two forms do not compute the same; then nothing is compared.
    """
    request = f"prove {batch_size} {steps}"
    for name, worker in workers.items():
        if name not in _SPINNING:
            send(worker, request)
    replies = {
        name: _unless_peer(
            partial(ask, w, request) if name in _SPINNING else partial(receive, w), name
        )
        for name, w in sorted(workers.items(), key=lambda item: item[0] in _SPINNING)
    }
    losses = {name: reply["losses"] for name, reply in replies.items() if reply is not None}
    proofs = {name: compare_losses(each, losses[REFERENCE]) for name, each in losses.items()}
    if not proofs[SUBJECT].equal:
        raise StepsDiffer(
            f"at batch size {batch_size} the losses of {SUBJECT} and {REFERENCE} differ by "
            f"{proofs[SUBJECT].difference:.2g} nats a pixel: there is no equal work to time"
        )
    return proofs


def time_bursts(
    workers: dict[str, Worker], proofs: dict[str, Proof], repeats: int
) -> dict[str, Result]:
    """Interleaved bursts, each of as many steps as take a quarter of a second."""
    steps = {}
    for name, worker in workers.items():
        seconds = ask(worker, "burst 1")["wall"]
        steps[name] = min(_MOST_STEPS, max(1, math.ceil(_SHORTEST_BURST / seconds)))
    bursts = {
        name: partial(ask, worker, f"burst {steps[name]}") for name, worker in workers.items()
    }
    replies = in_turns(bursts, repeats)
    columns = {
        name: {key: [reply[key] for reply in each] for key in each[0]}
        for name, each in replies.items()
    }
    subject = columns[SUBJECT]["wall"]
    return {
        name: Result(
            proofs[name],
            steps[name],
            summarize(column["wall"]),
            summarize(column["cpu"]),
            statistics.median(column["faults"]),
            max(column["peak_bytes"]),
            ratio_of_medians(column["wall"], subject),
            column["wall"],
            column["cpu"],
            column["faults"],
        )
        for name, column in columns.items()
    }


def _unless_peer(reply: Callable[[], dict[str, Any]], name: str) -> dict[str, Any] | None:
    """A reply; or, where a peer fails, one line that says so, and nothing.

    Raises:
        WorkerFailed: it is one of flaxae's own, without which there is no comparison.
    """
    try:
        return reply()
    except WorkerFailed as error:
        if name in (SUBJECT, REFERENCE):
            raise
        print(f"not compared: {error}")
        return None
