import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import flaxae
from benchmarks.common.steps.workload import Workload, make_batches
from benchmarks.common.workers import resident
from benchmarks.time_to_quality.own import OwnTraining, for_peers
from benchmarks.time_to_quality.peer import PeerTraining, cross_entropy
from benchmarks.time_to_quality.race import Result, Runner, cost, prove
from flaxae.errors import RunError

_RESULT = Result("flaxae", 0, 5.0, [10, 20, 30, 40], [1.0, 2.0, 3.0, 4.0], [0.5, 0.2, 0.3, 0.1])
_CONFIG = flaxae.TrainConfig(
    model=flaxae.ConvolutionalConfig(filters=(3, 2)),
    optimizer=flaxae.OptimizerConfig(batch_size=4),
    epochs=20,
    seed=7,
)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.6, (10, 1, 6)),
        (0.2, (20, 2, 7)),  # equal is enough
        (0.25, (20, 2, 7)),  # the first time counts, though the loss rises again
        (0.1999, (40, 4, 9)),
        (0.05, (math.inf, math.inf, math.inf)),
    ],
)
def test_a_level_costs_what_came_before_the_first_loss_below_it(level: float, expected: tuple):
    assert cost(_RESULT, level) == expected


def test_a_loss_that_is_no_number_reaches_nothing():
    assert cost(_RESULT._replace(losses=[math.nan] * 4), 0.6)[0] == math.inf


class _Worker:
    """Trains ten steps in a call, a second each; replies losses in turn."""

    def __init__(self, *losses: float, device: str = "cpu", call: int = 10) -> None:
        self.losses, self.device, self.call = iter(losses), device, call
        self.asked: list[tuple] = []

    def ask(self, request: str, *numbers: int) -> Any:
        if request != "train":
            return {"build": (self.device, 5.0)}.get(request) or next(self.losses)
        self.asked.append(numbers)
        _, first, until = numbers
        done = -(-until // self.call) * self.call
        return done, float(done - first)


def _runner(worker: _Worker, form: str = "flaxae") -> Runner:
    return Runner(form, worker, _CONFIG)  # type: ignore[arg-type]


def test_images_and_seconds_add_up_over_calls_and_epochs():
    worker = _Worker(0.4, 0.3, 0.2)
    runner = _runner(worker)
    for epoch, until in [(1, 5), (1, 8), (1, 14), (2, 5)]:
        runner.advance(epoch, until)
    # The second request is done already, because a call has ten steps.
    assert worker.asked == [(1, 0, 5), (1, 10, 14), (2, 0, 5)]
    assert runner.result == Result(
        "flaxae", 7, 5.0, [40, 80, 120], [10.0, 20.0, 30.0], [0.4, 0.3, 0.2]
    )


def test_peers_are_proved_after_as_many_steps_as_flaxae_had():
    own, peer = _Worker(0.5), _Worker(0.50049, call=1)
    prove([_runner(own), _runner(peer, "keras")], 5)
    assert peer.asked == [(1, 0, 10)]


@pytest.mark.parametrize(
    "peer", [_Worker(0.501), _Worker(0.4989), _Worker(math.nan), _Worker(0.5, device="gpu")]
)
def test_other_losses_or_devices_fail_the_proof(peer: _Worker):
    with pytest.raises(RunError, match=r"after 10 steps .*'torch': \('.pu', (0\.|nan)"):
        prove([_runner(_Worker(0.5)), _runner(peer, "torch")], 5)


def test_cross_entropy_is_that_of_its_definition():
    logits, targets = np.array([-40.0, 0, 2]), np.array([0, 0.3, 1])
    p = 1 / (1 + np.exp(-logits[1:]))
    expected = -(targets[1:] * np.log(p) + (1 - targets[1:]) * np.log(1 - p)).sum() / 3
    assert cross_entropy(logits, targets) == pytest.approx(expected)
    assert cross_entropy(np.array([800.0]), np.array([0.0])) == 800


_IMAGES = make_batches(38, (9, 7, 1), 1)[0]
_SPLITS = (flaxae.Split(_IMAGES[:30]), flaxae.Split(_IMAGES[30:]))


def _losses(worker: Any) -> list[float]:
    """The validation losses after each of five epochs."""
    runner = Runner("any", worker, _CONFIG)
    for epoch in range(1, 6):
        runner.advance(epoch, 7)
    return runner.result.losses


@pytest.fixture(scope="module")
def own() -> list[float]:
    """The losses of flaxae."""
    with resident({"flaxae": OwnTraining(_CONFIG, *_SPLITS)}) as workers:
        return _losses(workers["flaxae"])


class _Here:
    """A peer in this process."""

    def __init__(self, workload: Workload, config: flaxae.TrainConfig = _CONFIG) -> None:
        self.ask = PeerTraining("linen", workload, config, *_SPLITS)


def test_a_peer_trains_as_flaxae_in_every_epoch(own: list[float]):
    np.testing.assert_allclose(_losses(_Here(for_peers(_CONFIG, _SPLITS[0]))), own, rtol=1e-4)
    assert own[-1] < 0.95 * own[0]


@pytest.mark.parametrize("wrong", ["rates", "beta2", "activation", "weights", "order"])
def test_another_recipe_or_model_or_order_is_noticed(wrong: str, own: list[float]):
    workload, config = for_peers(_CONFIG, _SPLITS[0]), _CONFIG
    if wrong == "rates":
        workload = workload._replace(recipe=workload.recipe._replace(rates=(0.02,)))
    elif wrong == "beta2":
        workload = workload._replace(recipe=workload.recipe._replace(beta2=0.999))
    elif wrong == "activation":
        workload = workload._replace(activation="relu")
    elif wrong == "weights":
        workload = workload._replace(weights=())
    else:
        config = dataclasses.replace(_CONFIG, seed=8)
    assert abs(_losses(_Here(workload, config))[-1] / own[-1] - 1) > 1e-3
