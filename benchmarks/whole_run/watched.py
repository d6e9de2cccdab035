"""A training run that reports its first finished step, or its memory before each epoch.

    python -m benchmarks.whole_run.watched step train --workdir ...
    python -m benchmarks.whole_run.watched epochs train --workdir ...

Prints a JSON object per line; what the run prints goes to standard error. Only this file of the
benchmark knows flaxae's trainer, of which it replaces a method.
"""

import itertools
import json
import os
import sys
import time
from typing import Any

from flaxae.commands.main import main as flaxae


def watch(until: str, arguments: list[str]) -> int:
    """Runs flaxae with `arguments`; ends it after the first step if `until` is "step"."""
    # Imported here, after flaxae's command line, as in a run that is not watched.
    from benchmarks.common.memory import peak_bytes, resident
    from flaxae.training.epoch import Trainer

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run_epoch = Trainer.run_epoch

    def first_step(
        self: Trainer, state: Any, epoch: int, sums: Any, on_call: Any, stop: Any
    ) -> Any:
        calls = itertools.count(1)

        def end_after_step(*numbers: Any) -> None:
            on_call(*numbers)
            # A call fetches the metrics of the call before: at the second, a step has finished.
            if next(calls) == 2:
                print(json.dumps({"now": time.time()}), file=replies, flush=True)
                os._exit(0)

        return run_epoch(self, state, epoch, sums, end_after_step, stop)

    def whole_epoch(self: Trainer, state: Any, epoch: int, *rest: Any) -> Any:
        # Includes what the evaluation, picture and checkpoint of the last epoch have left.
        memory = resident()
        reply = {"epoch": epoch, "private_bytes": memory.private if memory else None}
        print(json.dumps(reply | {"peak_bytes": peak_bytes()}), file=replies, flush=True)
        return run_epoch(self, state, epoch, *rest)

    Trainer.run_epoch = first_step if until == "step" else whole_epoch
    return flaxae(arguments)


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1], sys.argv[2:]))
