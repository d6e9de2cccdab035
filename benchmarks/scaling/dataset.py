"""A file of random images, which training maps."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flaxae.errors import InputError

_CHUNK = 2**24  # bytes drawn at once


def require_space(needed: int) -> None:
    """InputError unless the folder for temporary files has `needed` bytes and a tenth free."""
    folder, needed = tempfile.gettempdir(), int(1.1 * needed)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder} has {free / 1e9:.2f} GB free and the largest dataset takes "
            f"{needed / 1e9:.2f}; free some, or set the variable TMPDIR to another folder"
        )


@contextlib.contextmanager
def on_disk(images: int, side: int) -> Iterator[Path]:
    """The file of square gray images; deleted on leaving and on SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with tempfile.TemporaryDirectory(prefix="flaxae-scaling-") as folder:
            file = Path(folder) / "images.npy"
            write(file, images, side)
            yield file
    finally:
        signal.signal(signal.SIGTERM, before)


def write(path: Path, images: int, side: int) -> None:
    """Writes random bytes; not by a memory map, which kills the process on a full disk."""
    generator = np.random.default_rng(0)
    pixels, shape = images * side * side, (images, side, side, 1)
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, pixels, _CHUNK):
            file.write(generator.bytes(min(_CHUNK, pixels - start)))
        file.flush()
        os.fsync(file.fileno())  # written now, not while something is timed
