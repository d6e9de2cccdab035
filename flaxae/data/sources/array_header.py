"""The header of an .npy file, or of a member of an .npz."""

import math
import warnings
from io import BufferedIOBase, BytesIO

import numpy as np
from numpy.lib import format as npy

_MOST_HEADER = 10_000  # bytes, NumPy's own limit


def read_header(stream: BufferedIOBase, size: int) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, type and whether the order is Fortran's; leaves the stream at the first value.

    Raises:
        ValueError: the header is damaged, or does not fit the `size` of the file or member.
    """
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} of the format is unknown")
    prefix = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(prefix, "little")
    if length > _MOST_HEADER:  # before it is read: NumPy would read 4 GB of it first
        raise ValueError(f"a header of {length} bytes")
    head = prefix + stream.read(length)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that Python 2 wrote
            shape, fortran, dtype = read(BytesIO(head), max_header_size=_MOST_HEADER)
    except Exception as error:  # whatever evaluating a damaged literal or type raises
        raise ValueError("its header cannot be parsed") from error
    shape = tuple(map(int, shape))
    if len(shape) > 32 or not all(0 <= length < 2**63 for length in shape):
        raise ValueError("the shape in its header is impossible")
    if dtype.hasobject:
        return shape, dtype, fortran  # of unknown size, and refused if it is asked for
    if dtype.itemsize == 0:
        raise ValueError("its values have no bytes")
    expected = math.prod(shape) * dtype.itemsize
    held = size - len(npy.MAGIC_PREFIX) - 2 - len(head)
    if held != expected:
        raise ValueError(f"its header says {expected} bytes of values, and it holds {held}")
    return shape, dtype, fortran
