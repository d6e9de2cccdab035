"""A file of random images."""

import math
import os
from pathlib import Path

import numpy as np

_CHUNK = 2**24  # bytes drawn at once


def write_images(path: Path, shape: tuple[int, ...]) -> None:
    """Writes random bytes [N, H, W, C] as .npy, so that no two images are equal.

    Not by a memory map, which kills the process on a full disk.
    """
    generator, size = np.random.default_rng(0), math.prod(shape)
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, size, _CHUNK):
            file.write(generator.bytes(min(_CHUNK, size - start)))
        file.flush()
        os.fsync(file.fileno())  # written now, not while something is timed or dropped from a cache
