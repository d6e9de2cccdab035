"""The trainings in resident workers: proved to be the same at first, then an epoch each in turn."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import flaxae
from benchmarks.common.workers import Worker, resident
from benchmarks.time_to_quality import FORMS
from benchmarks.time_to_quality.own import OwnTraining, for_peers, total_steps
from benchmarks.time_to_quality.peer import PeerTraining
from flaxae.errors import RunError

TOLERANCE = 1e-3  # the largest relative difference between the losses of equal trainings
# Steps before the losses are compared. Later, rounding alone makes them differ by so much; if the
# warm-up is short, already after a few. flaxae does a few more, because a call has several.
_FEWEST, _MOST, _PART_OF_WARMUP = 5, 25, 8
_PARTS = 4  # of an epoch, each followed by a validation


class Result(NamedTuple):
    """A training, and what it had done at each validation."""

    form: str
    seed: int
    build_seconds: float
    images: list[int]
    seconds: list[float]  # of training alone
    losses: list[float]


def cost(result: Result, level: float) -> tuple[float, float, float]:
    """Images, seconds, and seconds with building, until a loss is at most `level`; inf: never."""
    for images, seconds, loss in zip(*result[3:], strict=True):
        if loss <= level:
            return images, seconds, seconds + result.build_seconds
    return math.inf, math.inf, math.inf


class Runner:
    """A worker, which builds its program, and what it has done."""

    def __init__(self, form: str, worker: Worker, config: flaxae.TrainConfig) -> None:
        self.worker, self.batch_size = worker, config.optimizer.batch_size
        self.device, seconds = worker.ask("build")
        self.result = Result(form, config.seed, seconds, [], [], [])
        self.epoch = self.done = 0  # steps done of this epoch

    def advance(self, epoch: int, until: int) -> None:
        """Trains at least `until` steps of the epoch, and validates."""
        first = self.done if epoch == self.epoch else 0
        if until > first:
            self.done, seconds = self.worker.ask("train", epoch, first, until)
            self.epoch, (*_, images, times, losses) = epoch, self.result
            images.append(sum(images[-1:]) + (self.done - first) * self.batch_size)
            times.append(sum(times[-1:]) + seconds)
            losses.append(self.worker.ask("validate"))


def race(
    forms: Sequence[str], seed: int, epochs: int, splits: Mapping[str, flaxae.Split]
) -> list[Result]:
    """Trains all forms; raises as `prove`, and WorkerFailed if one of them fails."""
    pair = (splits["train"], splits["validation"])
    default = flaxae.TrainConfig(seed=seed, epochs=epochs)
    original = flaxae.preset("original", seed=seed, epochs=epochs)
    configs = {form: original if form == "original" else default for form in forms}
    workload, answers = for_peers(default, pair[0]), {}
    for form, config in configs.items():
        own = FORMS[form][1] == "flaxae"
        training: Any = OwnTraining if own else partial(PeerTraining, form, workload)
        answers[form] = training(config, *pair)
    with resident(answers) as workers:
        runners = {form: Runner(form, workers[form], configs[form]) for form in forms}
        early = int(np.argmax(workload.recipe.rates)) // _PART_OF_WARMUP
        same = [runner for form, runner in runners.items() if form != "original"]
        prove(same, min(_MOST, max(_FEWEST, early)))
        for epoch in range(1, epochs + 1):
            for form, runner in runners.items():
                steps = total_steps(configs[form], pair[0]) // epochs
                for part in range(1, _PARTS + 1):
                    runner.advance(epoch, math.ceil(part * steps / _PARTS))
    return [runner.result for runner in runners.values()]


def prove(runners: Sequence[Runner], steps: int) -> None:
    """Trains the first steps; RunError if the devices or the losses after them differ."""
    for runner in runners:
        runner.advance(1, steps)
        steps = max(steps, runner.done)
    found = {runner.result.form: (runner.device, runner.result.losses[-1]) for runner in runners}
    device, loss = next(iter(found.values()), ("", 0.0))
    # Written so that NaN differs too.
    if not all(d == device and abs(x - loss) <= TOLERANCE * loss for d, x in found.values()):
        raise RunError(
            f"the trainings differ: after {steps} steps device and validation loss are {found}; "
            f"expected one device and losses within {TOLERANCE:g} of each other; see --forms"
        )
