"""The training run in the limited process. It imports little before it has joined its group."""

import gc
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock


def train_limited(
    processes: str | None, file: Path, folder: Path, batch: int, steps: int
) -> dict[str, Any]:
    """Opens the images for the first time, then trains; seconds, bytes and shares of both.

    `processes` is the file of the group's process ids; None: without a limit.
    """
    before = _count("status", "RssAnon") * 1024
    if processes:
        Path(processes).write_text(str(os.getpid()))
    import flaxae
    from flaxae.data.sources import open_source
    from flaxae.training import epoch

    flags = {"batch_size": batch, "dataset": str(file), "store_dir": str(folder / "store")}
    config = flaxae.preset("standard", **flags, workdir=str(folder / "run"))
    flaxae.configure_jax(config.model, compilation_cache="off")
    start, read = time.perf_counter(), _count("io", "read_bytes")
    open_source(config.data).splits()
    found = {
        "private_bytes_before_limit": before,
        "first_opening_seconds": time.perf_counter() - start,
        "first_opening_read_bytes": _count("io", "read_bytes") - read,
    }
    gc.collect()  # unmaps the file, because mapped pages stay in the cache
    drop_from_cache(file)
    watch = Watch(steps)
    with mock.patch.object(epoch, "training_batches", watch.timed(epoch.training_batches)):
        flaxae.train(config, callbacks=[watch])
    return found | watch.found


class Watch:
    """Ends training after some steps, and times how long it waits for batches.

    The iterator that the trainer takes batches from is timed. `waiting` is all the time in its
    `next()`: an upper bound, because the device may still compute the call before. `idle` is the
    part of it in which the device had finished when `next()` was called: a lower bound. The loop's
    time is from the first `next()` of the epoch to the last result.
    """

    def __init__(self, steps: int) -> None:
        self.found: dict[str, Any] = {}  # at the end
        self._steps = steps
        self._result: Any = None  # of the last call; it may not be there yet
        self._start, self._cpu, self._read = 0.0, 0.0, 0
        self._waiting = self._idle = 0.0

    def timed(self, make: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """`make`, with timed iterators. Each starts anew: the first is for compilation only."""

        def batches(*arguments: Any, **options: Any) -> Iterator[Any]:
            self._start, self._cpu = time.perf_counter(), time.process_time()
            self._read, self._waiting, self._idle = _count("io", "read_bytes"), 0.0, 0.0
            source, end = make(*arguments, **options), object()
            while True:
                idle = self._result is None or self._result.is_ready()
                start = time.perf_counter()
                batch = next(source, end)
                seconds = time.perf_counter() - start
                self._waiting += seconds
                self._idle += seconds if idle else 0.0
                if batch is end:
                    return
                yield batch

        return batches

    def on_call(self, view: Any) -> bool:
        """Whether the steps are done."""
        self._result = view.state.step
        return view.step >= self._steps

    def on_end(self, view: Any) -> None:
        """Called when the last result is there, before flaxae's own callbacks save anything."""
        seconds = time.perf_counter() - self._start
        self.found = {
            "steps": view.step,
            "steps_per_epoch": view.task.trainer.steps_per_epoch,
            "loop_seconds": seconds,
            "loop_cpu_seconds": time.process_time() - self._cpu,
            "images_per_second": view.step * view.task.trainer.batch_size / seconds,
            "waiting_share": self._waiting / seconds,
            "idle_share": self._idle / seconds,
            "read_bytes": _count("io", "read_bytes") - self._read,
            "private_bytes": _count("status", "RssAnon") * 1024,
        }


def drop_from_cache(file: Path) -> None:
    """Asks the system to forget the pages of a file that no process has mapped."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _count(name: str, key: str) -> int:
    """A number of /proc of this process with all its threads."""
    found = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/self/{name}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
