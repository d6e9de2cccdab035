"""A file of random images, which training maps."""

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common.random_images import write_images
from flaxae.errors import InputError


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
            write_images(file, (images, side, side, 1))
            yield file
    finally:
        signal.signal(signal.SIGTERM, before)
