"""A training run that notes, at the first step of each epoch, the time and its memory.

It does what `flaxae train` does with its parsed flags. It imports little else, because its imports
are measured.
"""

import os
import time
from pathlib import Path
from typing import Any

import flaxae
from benchmarks.common.memory import peak_bytes, resident


class Watch(flaxae.Callback):
    """Notes the first call of each epoch, once it has been computed."""

    def __init__(self, only_first: bool) -> None:
        self.notes: list[dict[str, Any]] = []
        self.only_first = only_first

    def on_call(self, view: flaxae.View) -> bool:
        """At the first call the sums have no step yet."""
        if view.sums.steps == 0:
            view.state.step.block_until_ready()
            # Includes what the evaluation, picture and checkpoint of the last epoch have left.
            memory = resident()
            note = {"epoch": view.epoch + 1, "now": time.time(), "peak_bytes": peak_bytes()}
            self.notes.append(note | {"private_bytes": memory[0] if memory else None})
        return self.only_first


def run(folder: Path, name: str, epochs: int) -> list[dict[str, Any]]:
    """The notes of a run with its workdir and cache in `folder`; 0 epochs: of its first step."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # for compiled programs
    config = flaxae.TrainConfig(workdir=str(folder / name), epochs=epochs or 1)
    flaxae.configure_jax(config.model)
    watch = Watch(only_first=epochs == 0)
    flaxae.train(config, callbacks=[watch], verbose=True)
    return watch.notes
