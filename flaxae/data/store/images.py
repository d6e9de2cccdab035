"""Images in a file on disk, read by rows; every block is checked when it is first read."""

import contextlib
import os
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8, UInt32

from flaxae.data.store.memory import available_memory
from flaxae.errors import RunError

BLOCK_BYTES = 2**16  # small, because a random row makes its whole block be read once


class ImageFile:
    """Rows of uint8 images [N, H, W, C] in a file, from the byte `offset` on.

    `folder` is the entry's. A file of more than half of the available memory is read row by row,
    and so is one outside the entry, which its owner may cut off at any moment: a read of a map
    would end the process. Others are mapped, which is faster for rows that the system's cache
    already holds, and their size is looked at before each read.
    """

    def __init__(
        self, folder: Path, path: Path, shape: tuple[int, ...], offset: int, checksums: Any
    ) -> None:
        self.folder = folder
        self.path = path
        self.shape = shape
        self.row_bytes = int(np.prod(shape[1:]))
        self._offset = offset
        self._checksums = checksums  # uint32, one for each block
        self._checked = np.zeros(len(checksums), bool)
        self._block_rows = block_rows(shape)
        size = shape[0] * self.row_bytes
        if path.stat().st_size < offset + size:
            raise ValueError(f"{path} is shorter than its images")
        self._end = offset + size
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # No `__del__`, which could run after the module `os` is gone: when a script ends.
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        self._is_own = path.parent == folder
        self._mapped: np.ndarray | None = None
        if self._is_own and size <= available_memory() / 2:
            self._mapped = np.memmap(path, np.uint8, "r", offset, shape)

    def read(self, rows: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n height width channels"]:
        """These rows, in memory.

        Raises:
            RunError: their bytes are not those that were written.
        """
        if os.fstat(self._descriptor).st_size < self._end:
            raise self._cut_off()
        blocks = rows // self._block_rows
        if not self._checked[blocks].all():
            for block in np.unique(blocks):
                self._check(int(block))
        if self._mapped is not None:
            return self._mapped[rows]
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for image, row in zip(images, rows.tolist(), strict=True):
            at = self._offset + row * self.row_bytes
            if os.preadv(self._descriptor, [image.data], at) != self.row_bytes:
                raise self._cut_off()
        return images

    def _cut_off(self) -> RunError:
        next_start = "; the next start decodes the images anew" if self._is_own else ""
        return RunError(f"{self.path} was cut off while it was read{next_start}")

    def _check(self, block: int) -> None:
        if self._checked[block]:
            return
        first = block * self._block_rows
        if zlib.crc32(self._block_bytes(first)) != self._checksums[block]:
            with contextlib.suppress(OSError):
                (self.folder / "description.json").unlink()  # so that the next start decodes anew
            raise RunError(
                f"{self.path} is damaged near image {first}, or was changed: its checksum is "
                "another; the next start decodes the images anew"
            )
        self._checked[block] = True

    def _block_bytes(self, first: int) -> Any:
        """The bytes of a block; a map would read far more of a file that is not cached."""
        if self._mapped is not None:
            return np.ascontiguousarray(self._mapped[first : first + self._block_rows]).data
        last = min(first + self._block_rows, self.shape[0])
        size, at = (last - first) * self.row_bytes, self._offset + first * self.row_bytes
        return os.pread(self._descriptor, size, at)

    def __reduce__(self) -> Any:
        """Another process, or a copy, opens the file itself."""
        arguments = self.folder, self.path, self.shape, self._offset, self._checksums
        return ImageFile, arguments


class StoredImages:
    """Some rows of an `ImageFile`, used like an array of uint8 [N, H, W, C].

    Indexing reads the rows into memory. `part` makes a view that reads nothing.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, file: ImageFile, rows: Int[np.ndarray, " n"]) -> None:
        self._file = file
        self.rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, height, width and channels."""
        return (len(self.rows), *self._file.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of these rows."""
        return len(self.rows) * self._file.row_bytes

    @property
    def folder(self) -> Path:
        """The entry's folder."""
        return self._file.folder

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> UInt8[np.ndarray, "..."]:
        outer, inner = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if outer is None or outer is ...:  # `inner` may begin at any axis
            return np.asarray(self)[key]
        rows = self.rows[outer]
        if np.ndim(rows) == 0:
            return self._file.read(np.array([rows]))[0][inner]
        images = self._file.read(rows)
        return images[(slice(None), *inner)] if inner else images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._file.read(self.rows), dtype)

    def part(self, key: Any) -> "StoredImages":
        """A view of some rows."""
        return StoredImages(self._file, self.rows[key])

    @staticmethod
    def join(parts: "Sequence[StoredImages]") -> "StoredImages | None":
        """The rows of all parts, one after the other; None if they are of different files."""
        if len({id(part._file) for part in parts}) != 1:
            return None
        return StoredImages(parts[0]._file, np.concatenate([part.rows for part in parts]))


def block_rows(shape: tuple[int, ...]) -> int:
    """Images in a block of about 64 KiB, at least one."""
    return max(BLOCK_BYTES // max(int(np.prod(shape[1:])), 1), 1)


class Checksums:
    """CRC-32 of every block of images that come in order, a part at a time."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._size, self._rows = block_rows(shape), shape[0]
        self._done = 0
        self._values = np.zeros(-(-shape[0] // self._size), np.uint32)

    def add(self, images: UInt8[np.ndarray, "n ..."]) -> None:
        """The next images."""
        while len(images):
            block, inside = divmod(self._done, self._size)
            part = images[: self._size - inside]
            data = np.ascontiguousarray(part).data
            self._values[block] = zlib.crc32(data, int(self._values[block]))
            self._done, images = self._done + len(part), images[len(part) :]

    def values(self) -> UInt32[np.ndarray, " blocks"] | None:
        """One for each block; None where not all images have come."""
        return self._values if self._done == self._rows else None


def checksums(path: Path, shape: tuple[int, ...], offset: int) -> UInt32[np.ndarray, " blocks"]:
    """CRC-32 of every block of the images in a file.

    Raises:
        OSError: the file ends before its images.
    """
    found, size = Checksums(shape), block_rows(shape)
    with open(path, "rb") as file:
        file.seek(offset)
        for first in range(0, shape[0], size):
            rows = min(size, shape[0] - first)
            part = file.read(rows * int(np.prod(shape[1:])))
            if len(part) < rows * int(np.prod(shape[1:])):
                raise OSError(f"{path} was cut off while it was read")
            found.add(np.frombuffer(part, np.uint8).reshape(rows, *shape[1:]))
    values = found.values()
    assert values is not None
    return values
