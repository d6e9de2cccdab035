"""A training run that reports, at the first step of each epoch, the time and its memory.

    python -m benchmarks.whole_run.watched WORKDIR EPOCHS

It does what `flaxae train` does with its parsed flags, and prints a JSON object for each epoch;
what the run prints goes to standard error. With 0 epochs it ends after the first step.
"""

import json
import os
import sys
import time

import flaxae
from benchmarks.common.memory import peak_bytes, resident


class Watch(flaxae.Callback):
    """Reports the first call of each epoch, once it has been computed."""

    def __init__(self, file: int, only_first: bool) -> None:
        self.file, self.only_first = file, only_first

    def on_call(self, view: flaxae.View) -> None:
        """At the first call the sums have no step yet."""
        if view.sums.steps > 0:
            return
        view.state.step.block_until_ready()
        # Includes what the evaluation, picture and checkpoint of the last epoch have left.
        memory = resident()
        reply = {"epoch": view.epoch + 1, "now": time.time(), "peak_bytes": peak_bytes()}
        reply["private_bytes"] = memory.private if memory else None
        os.write(self.file, f"{json.dumps(reply)}\n".encode())
        if self.only_first:
            os._exit(0)


if __name__ == "__main__":
    workdir, epochs = sys.argv[1], int(sys.argv[2])
    watch = Watch(os.dup(1), only_first=epochs == 0)
    os.dup2(2, 1)
    config = flaxae.TrainConfig(workdir=workdir, epochs=epochs or 1)
    flaxae.configure_jax(config.model)
    flaxae.train(config, callbacks=[watch], verbose=True)
