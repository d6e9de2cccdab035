"""A training run that reports on itself: until its first step, or its memory after each epoch.

    python -m benchmarks.watched_run step train --workdir ...
    python -m benchmarks.watched_run epochs train --workdir ...

Prints JSON objects, a line each, on standard output; what the run prints goes to standard error.
"""

import itertools
import json
import os
import sys
import time
from typing import Any

from flaxae.commands.main import main as flaxae


def watch(until: str, arguments: list[str]) -> int:
    """Runs flaxae with `arguments`; ends it after the first step where `until` is "step"."""
    # Imports what `train` imports; here, after the cli as in run.py.
    from benchmarks.common.memory import resident
    from benchmarks.train_step.worker import peak_bytes
    from flaxae.training.epoch import EpochSums, OnCall, Trainer

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run_epoch = Trainer.run_epoch

    def first_step(
        trainer: Trainer, state: Any, epoch: int, sums: EpochSums, on_call: OnCall, stop: Any
    ) -> Any:
        calls = itertools.count(1)

        def told(*numbers: Any) -> None:
            on_call(*numbers)
            # A call's metrics are fetched in the next one: the second knows of a finished step.
            if next(calls) == 2:
                print(json.dumps({"now": time.time()}), file=replies, flush=True)
                os._exit(0)

        return run_epoch(trainer, state, epoch, sums, told, stop)

    def whole_epoch(trainer: Trainer, state: Any, epoch: int, sums: EpochSums, *rest: Any) -> Any:
        # What the epoch before has left behind: its evaluation, picture and checkpoint included.
        memory = resident()
        private = memory.private if memory else None
        reply = {"epoch": epoch, "private_bytes": private, "peak_bytes": peak_bytes()}
        print(json.dumps(reply), file=replies, flush=True)
        return run_epoch(trainer, state, epoch, sums, *rest)

    Trainer.run_epoch = first_step if until == "step" else whole_epoch
    return flaxae(arguments)


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1], sys.argv[2:]))
