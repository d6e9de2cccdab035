"""A profile of a few training steps: for XProf or Perfetto, and its costliest operations."""

import contextlib
import gzip
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from flaxae.errors import RunError
from flaxae.training.epoch import OnCall

_WARM_UP, _RECORDED = 3, 5  # calls
# They last as long as what they contain, which is counted by itself.
_CONTAINERS = ("while", "call", "conditional")


class Operation(NamedTuple):
    """A compiled operation, summed over devices and calls."""

    name: str
    origin: str  # the layer that it computes, as far as the program tells
    milliseconds: float
    share: float  # of all operations, 0..1
    times: int


@contextlib.contextmanager
def recording(folder: Path, on_call: OnCall) -> Iterator[OnCall]:
    """`on_call`, which records some calls after the first ones; ends the record when left."""
    calls = itertools.count(1)
    under_way = False

    def recorded(steps: int, loss: float, images_per_second: float) -> None:
        nonlocal under_way
        call = next(calls)
        if call == _WARM_UP:
            jax.profiler.start_trace(str(folder), create_perfetto_trace=True)
            under_way = True
        if call == _WARM_UP + _RECORDED:
            jax.profiler.stop_trace()
            under_way = False
        on_call(steps, loss, images_per_second)

    try:
        yield recorded
    finally:
        if under_way:
            jax.profiler.stop_trace()


def costliest_operations(folder: Path, programs: Iterable[str], count: int = 10) -> list[Operation]:
    """The operations that took the longest in the newest record in `folder`.

    `programs` are the texts of the compiled programs, which tell what an operation computes.

    Raises:
        RunError: there is none.
    """
    files = sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
    if not files:
        raise RunError(
            f"no call was recorded in {folder}: an epoch has fewer than {_WARM_UP} calls; "
            "try a smaller --steps-per-call or --batch-size"
        )
    times: Counter[str] = Counter()
    durations: Counter[str] = Counter()  # nanoseconds
    # The trace and not jax.profiler.ProfileData, which ends the process on some events in jax 0.12.
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
