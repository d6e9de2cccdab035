"""Reads arrays from .npy and .npz files: what they hold, and rows of their values.

Files are read as a stream, an .npz without unpacking it: a file that is cut off while it is read
raises an error, where a memory map would end the process.
"""

import math
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Int, Shaped
from numpy.lib import format as npy

from flaxae.data.file_names import printable
from flaxae.data.sources.array_header import read_header
from flaxae.errors import InputError

_MOST_CHUNK = 2**26  # bytes, unless one row takes more
_PIECE = 2**20  # bytes that are skipped at a time
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)


class ArrayFile(NamedTuple):
    """An array in a file, not read yet."""

    path: Path
    member: str | None  # its name in an .npz; None for an .npy
    shape: tuple[int, ...]  # [N, H, W] or [N, H, W, C]; of labels [N] or [N, 1]
    dtype: np.dtype  # as stored, in either byte order
    fortran: bool = False  # stored in Fortran order, which has no rows to read: refused

    @property
    def row_bytes(self) -> int:
        """The size of one row in the file."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def title(self) -> str:
        """Which array it is, for messages."""
        path = printable(self.path)
        return path if self.member is None else f"{printable(self.member)} in {path}"


def list_arrays(path: Path) -> dict[str | None, ArrayFile]:
    """The arrays of an .npz by name, or {None: array} of an .npy; only headers are read."""
    with _open_file(path) as (file, archive):
        if archive is None:
            return {None: ArrayFile(path, None, *read_header(file, _file_size(file)))}
        arrays: dict[str | None, ArrayFile] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                continue  # no array
            if name in arrays:
                raise ValueError(f"two arrays are named {name}")
            with _open_member(archive, info) as stream:
                arrays[name] = ArrayFile(path, name, *read_header(stream, info.file_size))
        return arrays


def read_rows(
    array: ArrayFile, rows: Int[np.ndarray, " rows"], chunk_rows: int
) -> Iterator[Shaped[np.ndarray, "..."]]:
    """Yields the rows in chunks [n, ...], in the byte order of this machine.

    `rows` ascend, each at most once. A chunk has at most `chunk_rows` rows, and fewer if these
    would take more than 64 MiB. After the last row an .npz is read to its end, for its checksum.

    Raises:
        InputError: the file is damaged, or holds another array than when it was found.
    """
    if len(rows) and (rows[0] < 0 or rows[-1] >= array.shape[0] or (np.diff(rows) < 1).any()):
        raise ValueError(f"rows must ascend in 0..{array.shape[0] - 1}")
    size = array.row_bytes
    step = max(1, min(chunk_rows, _MOST_CHUNK // max(size, 1)))
    position = 0
    with _open_data(array) as stream:
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            chunk = np.empty((len(part), size), np.uint8)
            cuts = np.flatnonzero(np.diff(part) != 1) + 1
            for start, end in zip([0, *cuts], [*cuts, len(part)], strict=True):
                _skip(stream, (int(part[start]) - position) * size)
                _fill(stream, chunk[start:end])
                position = int(part[start]) + int(end - start)
            yield _native(chunk.view(array.dtype).reshape(len(part), *array.shape[1:]))
        _finish(stream)


def read_whole(array: ArrayFile, most_bytes: int = 2**31) -> Shaped[np.ndarray, "..."]:
    """All of a small array, such as labels, in the byte order of this machine.

    Raises:
        InputError: the file is damaged, or the array takes more than `most_bytes`.
    """
    size = math.prod(array.shape) * array.dtype.itemsize
    if size > most_bytes:
        raise InputError(f"{array.title} takes {size} bytes; expected at most {most_bytes}")
    with _open_data(array) as stream:
        data = np.empty(size, np.uint8)
        _fill(stream, data)
        _finish(stream)
        values = _native(data.view(array.dtype).reshape(array.shape))
    if values.dtype.kind == "U" and (values.reshape(-1).view(np.uint32) > sys.maxunicode).any():
        raise InputError(f"{array.title} is damaged: it holds no text; save it again")
    return values


@contextmanager
def _open_file(path: Path) -> Iterator[tuple[BufferedIOBase, zipfile.ZipFile | None]]:
    """The open file, and the archive in it if it is an .npz; damage in it becomes InputError."""
    name = printable(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block
            raise InputError(f"{name} is no regular file; expected an .npy or .npz file")
        with open(path, "rb") as file:
            magic = file.read(len(npy.MAGIC_PREFIX))
            file.seek(0)
            if magic == npy.MAGIC_PREFIX:
                yield file, None
            elif magic.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    yield file, archive
            else:
                raise InputError(f"{name} is neither .npy nor .npz; save it with numpy.save")
    except OSError as error:
        raise InputError(
            f"{name} cannot be read ({error.strerror or error}); expected an .npy or .npz file"
        ) from error
    except MemoryError as error:
        raise InputError(f"{name} does not fit into memory; save smaller arrays") from error
    except _DAMAGE as error:
        raise InputError(
            f"{name} cannot be used ({printable(error)}); save it with numpy.save or savez"
        ) from error


@contextmanager
def _open_data(array: ArrayFile) -> Iterator[BufferedIOBase]:
    """The stream at the first byte of the array's rows."""
    with _open_file(array.path) as (file, archive):
        if array.fortran or array.dtype.hasobject:
            raise ValueError("it has no rows of plain values")
        if (archive is None) != (array.member is None):
            raise ValueError("it has changed")
        if archive is None:
            _require_same(array, file, _file_size(file))
            yield file
            return
        try:
            info = archive.getinfo(f"{array.member}.npy")
        except KeyError as error:
            raise ValueError(f"it no longer holds {array.member}") from error
        with _open_member(archive, info) as stream:
            _require_same(array, stream, info.file_size)
            yield stream


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> zipfile.ZipExtFile:
    if info.flag_bits & 1:
        raise ValueError("it is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"it is compressed by method {info.compress_type}, and not by NumPy")
    return cast(zipfile.ZipExtFile, archive.open(info))


def _require_same(array: ArrayFile, stream: BufferedIOBase, size: int) -> None:
    if read_header(stream, size) != (array.shape, array.dtype, array.fortran):
        raise ValueError("it has changed")


def _file_size(file: BufferedIOBase) -> int:
    return os.fstat(file.fileno()).st_size


def _skip(stream: BufferedIOBase, count: int) -> None:
    """Goes forward; what is skipped of an .npz is read too, as part of its checksum."""
    if not isinstance(stream, zipfile.ZipExtFile):
        stream.seek(count, os.SEEK_CUR)
        return
    while count:
        data = stream.read(min(count, _PIECE))
        if not data:
            raise EOFError("it ends early")
        count -= len(data)


def _fill(stream: BufferedIOBase, values: np.ndarray) -> None:
    """Reads contiguous bytes into the array."""
    view = values.reshape(-1).data
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError("it ends early")
        view = view[count:]


def _finish(stream: BufferedIOBase) -> None:
    """Reads an .npz member to its end, where its checksum is compared."""
    if isinstance(stream, zipfile.ZipExtFile):
        while stream.read(_PIECE):
            pass


def _native(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("="), copy=False)
