"""Whole runs: the time to the first step, and training to the quality of the table of results."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flaxae
from benchmarks.common.workers import in_process

Write = Callable[[Any], None]


def start(write: Write, smoke: bool) -> None:
    """Seconds from a process's start to its first finished call: without and with a cache."""
    result = {}
    with TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            begun = time.perf_counter()
            result[name] = in_process(first_call, f"{folder}/cache", f"{folder}/{name}")
            result[name]["whole_process_seconds"] = time.perf_counter() - begun
            write(result)


def first_call(cache: str, workdir: str) -> dict[str, float]:
    """Trains until the first call has ended; for a process of its own."""
    begun = time.perf_counter()

    class First(flaxae.Callback):
        seconds = 0.0

        def on_call(self, view: flaxae.View) -> bool:
            view.state.step.block_until_ready()
            First.seconds = First.seconds or time.perf_counter() - begun
            return True

    flaxae.configure_jax(flaxae.ConvolutionalConfig, cache)
    config = flaxae.TrainConfig(epochs=1, workdir=workdir)
    flaxae.train(config, callbacks=[First()])
    return {"first_call_seconds": First.seconds}


def training(write: Write, smoke: bool) -> None:
    """The default recipe, whose results docs/results.md has: seconds, and its test scores."""
    with TemporaryDirectory() as folder:
        begun = time.perf_counter()
        config = flaxae.TrainConfig(epochs=1 if smoke else 50, workdir=str(Path(folder) / "run"))
        run = flaxae.train(config)
        seconds = time.perf_counter() - begun
        write({"seconds": seconds, "test": dict(run.evaluate())})
