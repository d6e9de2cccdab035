"""Another framework's training in a process: flaxae's workload, with its batches in its order."""

import importlib
import time
from typing import Any

import numpy as np

from benchmarks.common.steps import Program
from benchmarks.common.steps.workload import Workload, to_float
from benchmarks.time_to_quality import FORMS
from flaxae.config import TrainConfig
from flaxae.data.batches import training_rows
from flaxae.data.splits import Split


class PeerTraining:
    """The function of a worker: answers as `own.OwnTraining`."""

    def __init__(self, form: str, workload: Workload, config: TrainConfig, *splits: Split) -> None:
        self.form, self.workload = form, workload
        self.order = (config.optimizer.batch_size, config.seed)
        self.images, self.validation = (np.asarray(s.images) for s in splits)

    def __call__(self, request: str, *numbers: int) -> Any:
        return getattr(self, request)(*numbers)

    def build(self) -> tuple[str, float]:
        """The device, and the seconds until a step has run: compilation, but no imports."""
        _, framework, variant = FORMS[self.form]
        module = importlib.import_module(f"benchmarks.common.steps.in_{framework}")
        start = time.perf_counter()
        self.program: Program = module.build(self.workload, variant)
        self.train(1, 0, 1)
        self.program.restart()
        return self.program.device, time.perf_counter() - start

    def train(self, epoch: int, first: int, until: int) -> tuple[int, float]:
        """Trains from step `first` of an epoch until so many steps are done."""
        start, pending = time.perf_counter(), None
        batches = training_rows(len(self.images), *self.order, epoch, first)
        for _, batch in zip(range(first, until), batches, strict=False):
            pending = self.program.step(self.program.to_input(self.images[batch.rows]))
        self.program.wait(pending)
        return until, time.perf_counter() - start

    def validate(self) -> float:
        """The mean loss of the validation split."""
        logits = self.program.logits(self.program.to_input(self.validation))
        return cross_entropy(logits, to_float(self.validation))


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean sigmoid cross-entropy in nats a pixel."""
    x = logits.astype(np.float64)
    return float(np.mean(np.maximum(x, 0) - x * targets + np.log1p(np.exp(-np.abs(x)))))
