"""The training steps of an epoch: fed from the host or on the device, one or many in a call.

Nothing here waits for the device but to fetch metrics, one call late.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import UInt8

from flaxae.config import TrainConfig
from flaxae.data.store import Batch, Rows, training_batches, training_rows
from flaxae.errors import RunError
from flaxae.training.devices import Placement
from flaxae.training.step import Rng, StepMetrics, gradient_sums, many_steps, train_step

Images = UInt8[np.ndarray, "examples height width channels"]
OnCall = Callable[[int, float, float], None]  # steps of the call, mean loss, images a second


class EpochSums(NamedTuple):
    """What the steps of an epoch add up to, in Python's double precision."""

    loss: float = 0.0
    grad_norm: float = 0.0
    steps: int = 0


class Trainer:
    """Compiled training steps over one set of images."""

    def __init__(self, config: TrainConfig, images: Images, placement: Placement, rng: Rng) -> None:
        self.batch_size = min(config.optimizer.batch_size, len(images))
        self.steps_per_epoch = len(images) // self.batch_size
        self._seed = config.seed
        self._images = images
        self._rng = rng
        self._steps_per_call = min(placement.steps_per_call, self.steps_per_epoch)
        on_device = config.compute.data_on_device
        self._resident = placement.replicate(np.asarray(images)) if on_device else None
        sums = partial(gradient_sums, noise_factor=config.optimizer.noise_factor)
        step = partial(train_step, sums=placement.divide(sums))
        self._jitted = jax.jit(many_steps(step), donate_argnums=0)
        self._compiled: dict[int, Any] = {}  # number of steps in a call -> program

    def compile(self, state: TrainState, first_step: int) -> None:
        """Compiles what an epoch from `first_step` on calls, so that no epoch's time holds it."""
        part = next(self._steps(epoch=1, first_step=0))
        for steps in {*self._sizes(0), *self._sizes(first_step)}:
            lowered = self._jitted.lower(state, stack([part] * steps), self._rng, self._resident)
            self._compiled[steps] = lowered.compile()

    def programs(self) -> list[str]:
        """What XLA made of the steps, as text."""
        return [program.as_text() for program in self._compiled.values()]

    def run_epoch(
        self,
        state: TrainState,
        epoch: int,
        sums: EpochSums,
        on_call: OnCall,
        stop: Callable[[], Any],
    ) -> tuple[TrainState, EpochSums]:
        """The steps of an epoch that `sums` does not contain yet, or those before `stop`.

        Raises:
            RunError: a loss is no finite number.
        """
        start, first = time.perf_counter(), sums.steps
        pending: StepMetrics | None = None
        calls = self._calls(epoch, sums.steps)
        for call in itertools.takewhile(lambda _: not stop(), calls):
            program = self._compiled[len(call.rows)]
            state, metrics = program(state, call, self._rng, self._resident)
            # One call late, so that the device never waits for the host.
            sums = sums if pending is None else add_steps(sums, pending, epoch)
            pending = metrics
            images = (sums.steps - first) * self.batch_size
            mean = sums.loss / max(sums.steps, 1)
            on_call(len(call.rows), mean, images / (time.perf_counter() - start))
        return state, sums if pending is None else add_steps(sums, pending, epoch)

    def _calls(self, epoch: int, first_step: int) -> Iterator[Batch | Rows]:
        steps = self._steps(epoch, first_step)
        for size in self._sizes(first_step):
            yield stack(list(itertools.islice(steps, size)))

    def _steps(self, epoch: int, first_step: int) -> Iterator[Batch] | Iterator[Rows]:
        order = (self.batch_size, self._seed, epoch, first_step)
        if self._resident is not None:
            return training_rows(len(self._images), *order)
        return training_batches(self._images, *order)

    def _sizes(self, first_step: int) -> list[int]:
        """Steps of each call; calls end at multiples of their size, wherever the epoch goes on."""
        ends = [*range(self._steps_per_call, self.steps_per_epoch, self._steps_per_call)]
        ends = [first_step, *(end for end in ends if end > first_step), self.steps_per_epoch]
        return [end - start for start, end in itertools.pairwise(ends) if end > start]


def stack(parts: list[Any]) -> Any:
    """The arrays of several steps along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


def add_steps(sums: EpochSums, metrics: StepMetrics, epoch: int) -> EpochSums:
    """Adds the metrics of a call's steps.

    Raises:
        RunError: a loss or a gradient is no finite number.
    """
    for loss, grad_norm in zip(
        np.asarray(metrics.loss), np.asarray(metrics.grad_norm), strict=True
    ):
        require_finite(float(loss), f"the loss in step {sums.steps + 1} of epoch {epoch}")
        require_finite(float(grad_norm), f"the gradient in step {sums.steps + 1} of epoch {epoch}")
        sums = EpochSums(sums.loss + float(loss), sums.grad_norm + float(grad_norm), sums.steps + 1)
    return sums


def require_finite(value: float, name: str) -> None:
    """Stops a run before its checkpoints hold what is no number.

    Raises:
        RunError: `value` is infinite or no number.
    """
    if not math.isfinite(value):
        raise RunError(
            f"{name} became {value}; the checkpoints are from before; "
            "try a smaller --learning-rate in another --workdir"
        )
