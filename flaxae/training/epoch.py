"""The training steps of an epoch: fed from the host or on the device, one or many in a call.

The host blocks only on metrics, and on those of the call before.
"""

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState

from flaxae.data.batches import Batch, Rows, training_batches, training_rows
from flaxae.data.splits import Split
from flaxae.errors import RunError
from flaxae.objectives import ObjectiveConfig
from flaxae.training import DataOnDevice
from flaxae.training.devices import Placement, fits_on_device
from flaxae.training.state import Rng
from flaxae.training.step import StepMetrics, gradient_sums, many_steps, train_step


class EpochSums(NamedTuple):
    """Sums over the steps of an epoch, in Python's double precision."""

    totals: Mapping[str, float] = MappingProxyType({})  # of the objective's means, and "grad_norm"
    steps: int = 0

    def means(self) -> dict[str, float]:
        """Each total divided by the number of steps."""
        return {name: total / self.steps for name, total in self.totals.items()}


class Call(NamedTuple):
    """One call of a compiled program in an epoch, for callbacks."""

    state: TrainState  # after the call; its buffers are donated to the next call
    steps: int  # in this call
    sums: EpochSums  # up to the call before
    images_per_second: float  # since the epoch's start


class Trainer:
    """Compiled training steps over one split."""

    def __init__(
        self,
        split: Split,
        objective: ObjectiveConfig,
        placement: Placement,
        rng: Rng,
        *,
        seed: int,
        batch_size: int,
        data_on_device: DataOnDevice,
    ) -> None:
        self.batch_size = min(batch_size, len(split.images))
        self.steps_per_epoch = len(split.images) // self.batch_size
        self.placement = placement
        self._split = split
        self._seed = seed
        self._rng = rng if placement.share.processes == 1 else placement.replicate(rng)
        most = min(placement.steps_per_call, self.steps_per_epoch)
        self._steps_per_call = even(self.steps_per_epoch, most) if placement.adaptable else most
        self._resident = None
        if fits_on_device(data_on_device, split):
            arrays = [None if a is None else np.asarray(a) for a in (split.images, split.targets)]
            self._resident = placement.replicate(tuple(arrays))
        joined = placement.joined
        sums = placement.divide(partial(gradient_sums, config=objective, joined=joined))
        step = partial(train_step, sums=sums, joined=joined)
        self._jitted = jax.jit(many_steps(step), donate_argnums=0)
        self._compiled: dict[int, Any] = {}  # number of steps in a call -> program

    def compile(self, state: TrainState, first_step: int) -> None:
        """Compiles what epochs call, the first of them from `first_step` on.

        So no epoch's time includes compilation.
        """
        if jax.config.jax_disable_jit:
            self._compiled = defaultdict(lambda: self._jitted)
            return
        part = next(self._steps(epoch=1, first_step=0))
        for steps in {*self._sizes(0), *self._sizes(first_step)}:
            batches = self._together([part] * steps)
            lowered = self._jitted.lower(state, batches, self._rng, self._resident)
            self._compiled[steps] = lowered.compile()

    def programs(self) -> list[str]:
        """The compiled programs as text."""
        return [program.as_text() for program in self._compiled.values()]

    def run_epoch(
        self, state: TrainState, epoch: int, sums: EpochSums, on_call: Callable[[Call], bool]
    ) -> tuple[TrainState, EpochSums]:
        """The steps of an epoch that follow those in `sums`; fewer if `on_call` returns True.

        Raises:
            RunError: a loss or a gradient is NaN or infinite.
        """
        start, first = time.perf_counter(), sums.steps
        pending: StepMetrics | None = None
        for batches in self._calls(epoch, sums.steps):
            steps = len(batches.rows)
            state, metrics = self._compiled[steps](state, batches, self._rng, self._resident)
            # One call late, so that the device never waits for the host.
            sums = sums if pending is None else add_steps(sums, pending, epoch)
            pending = metrics
            images = (sums.steps - first) * self.batch_size
            if on_call(Call(state, steps, sums, images / (time.perf_counter() - start))):
                break
        return state, sums if pending is None else add_steps(sums, pending, epoch)

    def _calls(self, epoch: int, first_step: int) -> Iterator[Batch | Rows]:
        steps = self._steps(epoch, first_step)
        for size in self._sizes(first_step):
            yield self._together(list(itertools.islice(steps, size)))

    def _together(self, parts: list[Any]) -> Any:
        return self.placement.together(stack(parts), axis=1)

    def _steps(self, epoch: int, first_step: int) -> Iterator[Batch] | Iterator[Rows]:
        order = (self.batch_size, self._seed, epoch, first_step, self.placement.share)
        if self._resident is not None:
            return training_rows(len(self._split.images), *order)
        return training_batches(self._split, *order)

    def _sizes(self, first_step: int) -> list[int]:
        """Steps of each call; a call ends at a multiple of its size, wherever the epoch resumes."""
        ends = [*range(self._steps_per_call, self.steps_per_epoch, self._steps_per_call)]
        ends = [first_step, *(end for end in ends if end > first_step), self.steps_per_epoch]
        return [end - start for start, end in itertools.pairwise(ends) if end > start]


def even(steps: int, most: int) -> int:
    """The largest size from half of `most` to `most` that divides `steps`, or `most`.

    Calls of one size need one compiled program.
    """
    return max((n for n in range(most // 2 + 1, most + 1) if steps % n == 0), default=most)


def stack(parts: list[Any]) -> Any:
    """The arrays of several steps along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)


def add_steps(sums: EpochSums, metrics: StepMetrics, epoch: int) -> EpochSums:
    """Adds the metrics of a call's steps.

    Raises:
        RunError: a loss or a gradient is NaN or infinite.
    """
    arrays = {name: np.asarray(value) for name, value in metrics.values.items()}
    arrays["grad_norm"] = np.asarray(metrics.grad_norm)
    for step in range(len(arrays["grad_norm"])):
        values = {name: float(array[step]) for name, array in arrays.items()}
        where = f"in step {sums.steps + 1} of epoch {epoch}"
        require_finite(values["loss"], f"the loss {where}")
        require_finite(values["grad_norm"], f"the gradient {where}")
        totals = {name: sums.totals.get(name, 0.0) + value for name, value in values.items()}
        sums = EpochSums(totals, sums.steps + 1)
    return sums


def require_finite(value: float, name: str) -> None:
    """Raises RunError if `value` is NaN or infinite, so that no checkpoint stores it."""
    if not math.isfinite(value):
        raise RunError(
            f"{name} became {value}; the checkpoints are from before; "
            "try a smaller --learning-rate in another --workdir"
        )
