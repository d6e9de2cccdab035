"""A profile of a few training steps: for XProf or Perfetto, and its costliest operations."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from flaxae.errors import RunError
from flaxae.training.loop import View

_WARM_UP, _RECORDED = 3, 5  # calls
# Their time is that of the operations in them, which are counted by themselves.
_CONTAINERS = ("while", "call", "conditional")


class Operation(NamedTuple):
    """A compiled operation, summed over devices and calls."""

    name: str
    origin: str  # the layer that it computes, if the program says so
    milliseconds: float
    share: float  # of all operations, 0..1
    times: int


class Profile:
    """Records some calls after the first ones, in the first epoch of this start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = 0
        self._recording = False
        self._recorded = False
        self._programs: Sequence[str] = ()

    def on_call(self, view: View) -> None:
        """Starts and ends the record."""
        self._calls += 1
        if self._calls == _WARM_UP:
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._recording = self._recorded = True
        if self._calls == _WARM_UP + _RECORDED:
            self._stop()

    def on_epoch(self, view: View) -> None:
        """Ends the record with the first epoch."""
        self._calls = _WARM_UP + _RECORDED
        self._stop()
        self._programs = view.task.trainer.programs()

    def on_end(self, view: View) -> None:
        """Ends the record of an epoch that was stopped."""
        self._stop()

    def operations(self) -> "list[Operation]":
        """See `costliest_operations`; only of this start, though the folder may have older records.

        Raises:
            RunError: this start has trained nothing, or made too few calls.
        """
        if not self._calls:
            raise RunError(
                "no call was recorded: nothing was trained, because the run has all its epochs; "
                "give more --epochs, or --restart to train it anew"
            )
        if not self._recorded:
            raise RunError(
                f"no call was recorded in {self._folder}: an epoch has fewer than {_WARM_UP} "
                "calls; try a smaller --steps-per-call or --batch-size"
            )
        return costliest_operations(self._folder, self._programs)

    def _stop(self) -> None:
        if self._recording:
            self._recording = False
            jax.profiler.stop_trace()


def costliest_operations(folder: Path, programs: Iterable[str], count: int = 10) -> list[Operation]:
    """The operations that took the longest in the newest record in `folder`.

    `programs` are the texts of the compiled programs, which say what each operation computes.

    Raises:
        RunError: there is none.
    """
    files = sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
    if not files:
        raise RunError(f"{folder} holds no record any more; train with --profile once more")
    times: Counter[str] = Counter()
    durations: Counter[str] = Counter()  # nanoseconds
    # Not jax.profiler.ProfileData, which crashes on some events in jax 0.12.
    for event in json.loads(gzip.decompress(files[-1].read_bytes()))["traceEvents"]:
        name = event.get("args", {}).get("hlo_op")
        if name is not None and not name.startswith(_CONTAINERS):
            times[name] += 1
            durations[name] += round(1000 * event["dur"])
    total = max(sum(durations.values()), 1)
    origin = {name: where for text in programs for name, where in origins(text).items()}
    return [
        Operation(name, origin.get(name, ""), duration / 1e6, duration / total, times[name])
        for name, duration in durations.most_common(count)
    ]


def origins(program: str) -> dict[str, str]:
    """By the name of each operation of a compiled program, the layer and function it comes from.

    JAX writes "jit(steps)/transpose(jvp(Autoencoder))/Autoencoder.decode/decoder/head/dot_general".
    """
    found = re.findall(r'^\s*(?:ROOT )?%?(\S+) = .*op_name="([^"]*)"', program, flags=re.MULTILINE)
    return {name: _origin(path) for name, path in found}


def _origin(path: str) -> str:
    layer = path.split("Autoencoder.")[-1] if "Autoencoder." in path else path.split("/")[-1]
    return f"gradient of {layer}" if "transpose(" in path else layer
