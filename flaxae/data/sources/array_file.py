"""Arrays in files: finds the images in an .npy or .npz file and reads rows of them.

Files are read as a stream, an .npz without unpacking it: a file that is cut off while it is read
raises an error, where a memory map would end the process.
"""

import math
import os
import stat
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from numpy.lib import format as npy

from flaxae.data.file_names import printable
from flaxae.errors import InputError

_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_MOST_HEADER = 10_000  # bytes, NumPy's own limit
_MOST_ROWS = 2**31 - 1  # the rows of a split are int32
_MOST_IMAGE = 2**28  # bytes
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


def find_arrays(
    path: Path, images_key: str | None, labels_key: str | None
) -> dict[str, tuple[ArrayFile, ArrayFile | None]]:
    """The images and labels of each split in an .npy or .npz; of {"all": ...} if it has no splits.

    An .npz has splits if it has train_images or x_train; validation (or val) and test are named
    alike, and so are their labels: train_labels, y_train. Without splits, `images_key` names the
    images, else they are `images`, `x`, `arr_0` or the only array of 3 or 4 dimensions; and
    `labels_key` the labels, else they are `labels` or `y`. An empty `labels_key` takes none.
    Names that are not given may have capitals, as X_train.

    Raises:
        InputError: the file cannot be read, or which array holds the images is not clear; the
            message has the names and shapes.
    """
    arrays = _list_arrays(path)
    if None in arrays:
        if images_key or labels_key:
            raise InputError(
                f"{printable(path)} is one array without a name; leave out --images-key and "
                "--labels-key, which are for .npz files"
            )
        return {"all": (_as_images(arrays[None]), None)}
    named = {name: array for name, array in arrays.items() if name is not None}
    splits = {} if images_key else _find_splits(named)
    if not splits:
        name = _images_name(path, named, images_key)
        images = _as_images(named[name])
        return {"all": (images, _find_labels(named, name, images, labels_key))}
    if labels_key:
        raise InputError(
            f"--labels-key got {printable(labels_key)}, but {printable(path)} holds splits, "
            "whose labels are named like train_labels or y_train; give --images-key too"
        )
    pairs = {}
    for split, name in splits.items():
        images = _as_images(named[name])
        pairs[split] = images, _find_labels(named, name, images, labels_key)
    sizes = {split: images.shape[1:] for split, (images, _) in pairs.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"{printable(path)} holds splits with images of the shapes {sizes}; expected one"
        )
    return pairs


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
        raise InputError(f"{_title(array)} takes {size} bytes; expected at most {most_bytes}")
    with _open_data(array) as stream:
        data = np.empty(size, np.uint8)
        _fill(stream, data)
        _finish(stream)
        values = _native(data.view(array.dtype).reshape(array.shape))
    if values.dtype.kind == "U" and (values.reshape(-1).view(np.uint32) > sys.maxunicode).any():
        raise InputError(f"{_title(array)} is damaged: it holds no text; save it again")
    return values


def pixels_of(
    chunk: Shaped[np.ndarray, "..."], value_range: tuple[float, float] | None, what: str
) -> UInt8[np.ndarray, "examples height width channels"]:
    """Images [N, H, W] or [N, H, W, C] of any type as bytes [N, H, W, C]; C is 1 or 3.

    With `value_range`, black and white, numbers are mapped linearly and clipped. Without it bytes
    stay as they are, False and True become 0 and 255, of uint16 the high byte is taken, other
    whole numbers must be in 0..255, and floats in 0..1 are rounded to 8 bits.

    Raises:
        InputError: another shape or type, or values out of range; the message says what came.
    """
    _require_image_shape(chunk.shape, what)
    _require_numbers(chunk.dtype, what)
    chunk = chunk[..., None] if chunk.ndim == 3 else chunk
    if chunk.dtype == bool:
        chunk = (chunk.view(np.uint8) != 0) * np.uint8(255)  # a damaged file may hold other bytes
    elif value_range is not None:
        return _mapped(chunk, value_range, what)
    if chunk.dtype == np.uint8:
        return chunk
    if chunk.dtype == np.uint16:
        return (chunk >> 8).astype(np.uint8)
    most = 1 if chunk.dtype.kind == "f" else 255
    low, high = (chunk.min(), chunk.max()) if chunk.size else (0, 0)
    if not (low >= 0 and high <= most):  # also refuses NaN
        raise InputError(
            f"{what} is {chunk.dtype} in {low}..{high}; expected 0..{most}, or give --range with "
            "the values of black and white"
        )
    if chunk.dtype.kind != "f":
        return chunk.astype(np.uint8)
    return np.round(chunk.astype(np.float32) * 255).astype(np.uint8)  # as data/images.py


def _mapped(chunk: np.ndarray, value_range: tuple[float, float], what: str) -> np.ndarray:
    low, high = map(float, value_range)
    if not 0 < high - low < math.inf:
        raise InputError(f"--range got {low} {high}; expected black below white")
    values = chunk.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{what} is {chunk.dtype} with NaN or infinity; expected numbers")
    return np.round((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)


# Which array is which.


def _find_splits(named: Mapping[str, ArrayFile]) -> dict[str, str]:
    """The name of the images of each split; {} without images of train."""
    found: dict[str, str] = {}
    for split, aliases in _SPLIT_NAMES.items():
        names = _matching(named, [key for a in aliases for key in _keys(a, "images", "x")])
        names += [n for n in _matching(named, aliases) if len(named[n].shape) in (3, 4)]
        if len(names) > 1:
            raise InputError(
                f"the images of the split {split} can be {' or '.join(map(printable, names))}; "
                "expected one of them: save the file again, or take one by --images-key"
            )
        if names:
            found[split] = names[0]
    if "train" not in found:
        return {}
    whole = _matching(named, ("images", "x", "arr_0"))
    if whole:
        raise InputError(
            f"the file holds {printable(whole[0])} and the split {printable(found['train'])}; "
            "expected one of both: save the file again, or take one by --images-key"
        )
    return found


def _images_name(path: Path, named: Mapping[str, ArrayFile], images_key: str | None) -> str:
    if images_key:
        names = [images_key] if images_key in named else []
    else:
        names = _matching(named, ("images", "x", "arr_0"))[:1]
        names = names or [name for name, array in named.items() if len(array.shape) in (3, 4)]
    if len(names) == 1:
        return names[0]
    reason = f"no {printable(images_key)}" if images_key else "no or several arrays of images"
    raise InputError(
        f"{printable(path)} holds {reason}; it has {_listed(named)}; give the name of the "
        "images as --images-key"
    )


def _find_labels(
    named: Mapping[str, ArrayFile], images_name: str, images: ArrayFile, labels_key: str | None
) -> ArrayFile | None:
    """The labels that belong to the images; None if there are none."""
    if labels_key == "":
        return None
    if labels_key is not None:
        names = [labels_key] if labels_key in named else []
        if not names:
            raise InputError(
                f"--labels-key got {printable(labels_key)}; expected one of {_listed(named)}"
            )
    else:
        parts = images_name.lower().split("_")
        aliases = [a for names in _SPLIT_NAMES.values() for a in names if a in parts]
        names = _matching(named, _keys(aliases[0], "labels", "y") if aliases else ("labels", "y"))
    if not names:
        return None
    labels = named[names[0]]
    count = images.shape[0]
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "biufUS":
        raise InputError(
            f"{_title(labels)} is {_form(labels)}; expected one number or name for each of "
            f"{count} images, or --labels-key '' for no labels"
        )
    return labels


def _keys(alias: str, *words: str) -> list[str]:
    return [key for word in words for key in (f"{alias}_{word}", f"{word}_{alias}")]


def _matching(named: Mapping[str, ArrayFile], keys: Sequence[str]) -> list[str]:
    """The names that are one of the keys but for capitals, in the order of the keys."""
    return [name for key in keys for name in named if name.lower() == key]


def _as_images(array: ArrayFile) -> ArrayFile:
    """The array itself; raises InputError if it cannot be images."""
    what = _title(array)
    _require_numbers(array.dtype, what)
    _require_image_shape(array.shape, what)
    if not 1 <= array.shape[0] <= _MOST_ROWS:
        raise InputError(f"{what} holds {array.shape[0]} images; expected 1 to {_MOST_ROWS}")
    if array.row_bytes > _MOST_IMAGE:
        raise InputError(
            f"{what} holds images of {array.row_bytes} bytes; expected at most {_MOST_IMAGE}"
        )
    if array.fortran:
        raise InputError(
            f"{what} is stored in Fortran order; expected C order: save numpy.ascontiguousarray(x)"
        )
    return array


def _require_numbers(dtype: np.dtype, what: str) -> None:
    if dtype.hasobject:
        raise InputError(
            f"{what} holds Python objects, which could run code; expected an array of numbers"
        )
    if dtype.kind not in "buif":
        raise InputError(f"{what} is {printable(dtype)}; expected numbers")


def _require_image_shape(shape: tuple[int, ...], what: str) -> None:
    came = f"{what} has the shape {_bracketed(shape)}"
    if len(shape) not in (3, 4):
        raise InputError(f"{came}; expected [N, H, W] or [N, H, W, C]: reshape it")
    if 0 in shape[1:]:
        raise InputError(f"{came}; expected images with pixels")
    if len(shape) == 3:
        if shape[2] in (3, 4):
            raise InputError(
                f"{came}, like one image in color; expected [N, H, W, C]: save x[None], or "
                "x[..., None] if these are gray images so narrow"
            )
        return
    channels = shape[3]
    if channels in (2, 4):
        raise InputError(
            f"{came}: {channels} channels, the last for transparency; expected 1 or 3: save "
            f"x[..., :{channels - 1}]"
        )
    if channels not in (1, 3):
        advice = "save x.transpose(0, 2, 3, 1)" if shape[1] in (1, 2, 3, 4) else "channels last"
        raise InputError(f"{came}; expected [N, H, W, C] with 1 or 3 channels: {advice}")


def _bracketed(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _form(array: ArrayFile) -> str:
    return f"{_bracketed(array.shape)} {printable(array.dtype)}"


def _listed(named: Mapping[str, ArrayFile]) -> str:
    """The first arrays with their shapes and types."""
    shown = [f"{printable(name)} {_form(array)}" for name, array in list(named.items())[:8]]
    return ", ".join([*shown, *(["..."] if len(named) > 8 else [])]) or "no arrays"


def _title(array: ArrayFile) -> str:
    path = printable(array.path)
    return path if array.member is None else f"{printable(array.member)} in {path}"


# Reading files.


def _list_arrays(path: Path) -> dict[str | None, ArrayFile]:
    """The arrays of an .npz by name, or {None: array} of an .npy; only headers are read."""
    with _open_file(path) as (file, archive):
        if archive is None:
            return {None: ArrayFile(path, None, *_read_header(file, _file_size(file)))}
        arrays: dict[str | None, ArrayFile] = {}
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                continue  # no array
            if name in arrays:
                raise ValueError(f"two arrays are named {name}")
            with _open_member(archive, info) as stream:
                arrays[name] = ArrayFile(path, name, *_read_header(stream, info.file_size))
        return arrays


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
    if _read_header(stream, size) != (array.shape, array.dtype, array.fortran):
        raise ValueError("it has changed")


def _read_header(stream: BufferedIOBase, size: int) -> tuple[tuple[int, ...], np.dtype, bool]:
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
