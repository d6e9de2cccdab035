"""One form of the training step in a process, because frameworks disturb each other in one."""

import importlib
import itertools
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.common.memory import peak_bytes
from benchmarks.common.steps import Program
from benchmarks.common.steps.workload import Workload, make_batches


class Burst(NamedTuple):
    """What several steps took, per step."""

    wall: float  # seconds
    cpu: float  # seconds
    faults: float  # pages that the system had to supply
    peak_bytes: int  # of the process since its start


class Session:
    """The function of a worker: answers the requests "greet", "prove" and "burst"."""

    def __init__(self, framework: str, form: str, model: str) -> None:
        self.framework, self.form, self.workload = framework, form, Workload(model)
        self.inputs: list[Any] = []

    def __call__(self, request: str, *numbers: int) -> Any:
        return getattr(self, request)(*numbers)

    def greet(self) -> str:
        """Builds the program; returns its device."""
        module = importlib.import_module(f"benchmarks.common.steps.in_{self.framework}")
        self.program: Program = module.build(self.workload, self.form)
        return self.program.device

    def prove(self, batch_size: int, steps: int) -> list[float]:
        """The losses of the first steps with batches of this size, which later bursts take too."""
        batches = make_batches(batch_size, self.workload.image_shape)
        self.inputs = [self.program.to_input(images) for images in batches]
        return losses(self.program, self.inputs, steps)

    def burst(self, steps: int) -> Burst:
        """Times steps on the batches of the last proof."""
        if not self.inputs:
            raise ValueError("a burst came before any prove, which sets the batch size")
        return measure(self.program, list(itertools.islice(itertools.cycle(self.inputs), steps)))


def losses(program: Program, inputs: Sequence[Any], steps: int) -> list[float]:
    """Trains from the first weights; blocks on each step's loss, in nats a pixel."""
    program.restart()
    rotated = itertools.islice(itertools.cycle(inputs), steps)
    return [program.wait(program.step(batch)) for batch in rotated]


def measure(
    program: Program, inputs: Sequence[Any], clock: Callable[[], float] = time.perf_counter
) -> Burst:
    """Runs a step on each input and blocks on the last."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), clock()
    pending = None
    for batch in inputs:
        pending = program.step(batch)
    program.wait(pending)
    seconds, after = clock() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    faults, steps = after.ru_minflt - before.ru_minflt, len(inputs)
    return Burst(seconds / steps, cpu / steps, faults / steps, peak_bytes())
