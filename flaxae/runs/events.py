"""The recorder of TensorBoard's events: scalars, pictures and histograms.

tensorboardX makes the messages, and we write them: its own writer puts them in a queue for a
thread, which ends without a word when the disk is full, and then the queue blocks.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from PIL import Image
from tensorboardX import summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from flaxae.runs.disk_faults import goes_on_without
from flaxae.runs.pictures import Pictures
from flaxae.training.loop import View

Arrays = Mapping[str, jax.Array | np.ndarray]

_BINS = 64


class Events:
    """Writes an event file in the run's folder; `pictures` has drawn the epoch's picture."""

    def __init__(self, workdir: Path, pictures: Pictures | None = None) -> None:
        self._workdir = workdir
        self._pictures = pictures
        self._file: EventFile | None = None

    def on_start(self, view: View) -> None:
        """Names the file."""
        self._file = EventFile(self._workdir, view.step + 1)

    def on_epoch(self, view: View) -> None:
        """Writes the epoch's numbers, picture and histograms."""
        assert self._file is not None, "on_start comes first"
        picture = self._pictures.latest if self._pictures else None
        found = messages(view.record, picture, view.parameters, view.activations)
        with goes_on_without(f"TensorBoard's events of epoch {view.epoch}"):
            self._file.write(view.step, found)


class EventFile:
    """A file of events; what an earlier start wrote from `first_step` on is hidden."""

    def __init__(self, folder: Path, first_step: int) -> None:
        # The step keeps two starts in one second from sharing a file.
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{first_step}"
        self._path = folder / name
        start = SessionLog(status=SessionLog.START)
        now = time.time()
        events = (
            Event(wall_time=now, file_version="brain.Event:2"),
            Event(wall_time=now, step=first_step, session_log=start),
        )
        self._head = b"".join(map(_framed, events))

    def write(self, step: int, found: Iterator[summary.Summary]) -> None:
        """Adds the events of a step; if that fails, the file stays as it was."""
        now = time.time()
        events = [_framed(Event(wall_time=now, step=step, summary=each)) for each in found]
        with open(self._path, "ab") as file:
            size = file.seek(0, os.SEEK_END)
            try:
                file.write((b"" if size else self._head) + b"".join(events))
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):
                    file.truncate(size)
                error.filename = str(self._path)
                raise


def messages(
    record: Mapping[str, int | float],
    picture: Image.Image | None,
    parameters: Arrays,
    activations: Arrays,
) -> Iterator[summary.Summary]:
    """Scalars, picture, histograms, and the fraction of zeros in each activation."""
    for name, value in record.items():
        yield summary.scalar(name, value)
    if picture is not None:
        yield summary.image("reconstructions", np.asarray(picture), dataformats="HWC")
    for name, array in parameters.items():
        yield _histogram(f"parameters/{name}", array)
    for name, array in activations.items():
        yield _histogram(name, array)
        zeros = float(np.mean(np.asarray(array) == 0))
        yield summary.scalar(f"fraction_of_zeros/{name}", zeros)


def _histogram(name: str, array: jax.Array | np.ndarray) -> summary.Summary:
    return summary.histogram(name, np.asarray(array, np.float32).ravel(), bins=_BINS)


def _framed(event: Event) -> bytes:
    """A message as the file has it: its length, the message, and a checksum of each."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, content)]
    return length + checks[0] + content + checks[1]
