"""A picture file for each image."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from flaxae.data.file_names import picture_name
from flaxae.data.splits import Split
from flaxae.errors import InputError, RunError
from flaxae.report.figures import to_picture

Images = UInt8[np.ndarray, "n height width channels"]


def write_pictures(
    folder: Path, split: Split, draw: Callable[[np.ndarray], Images], batch_size: int
) -> int:
    """Writes what `draw` makes of each image as PNG into the folder; returns their number.

    Pictures that an earlier call has written are replaced, and no other file.

    Raises:
        InputError: the folder cannot be written, or a file of somebody else has such a name.
        RunError: the disk fills up on the way; the pictures that are there are whole.
    """
    folder, count = folder.expanduser().absolute(), len(split.images)
    files = split.files or [None] * count
    paths = [folder / picture_name(row, name) for row, name in enumerate(files)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = [path for path in paths if path.exists() and not _is_own(path)]
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}; give a folder") from error
    if foreign:
        raise InputError(f"{foreign[0]} was not written by flaxae; give another --output-dir")
    for first in range(0, count, batch_size):
        pictures = draw(np.asarray(split.images[first : first + batch_size]))
        for path, picture in zip(paths[first:], pictures, strict=False):
            try:
                _write_whole(path, png_bytes(picture))
            except OSError as error:
                raise RunError(
                    f"{folder} could not be written ({error.strerror or error}); make room there "
                    "and repeat the command, or give another --output-dir"
                ) from error
    return count


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a temporary file, then renames it: half a picture would be taken for a stranger's."""
    scratch = path.with_name(f".{os.getpid()}.flaxae-partial")
    try:
        scratch.write_bytes(content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _is_own(path: Path) -> bool:
    """Whether flaxae has written this picture: its text says so."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get("Software") == "flaxae"
    except (OSError, ValueError, SyntaxError):
        return False


def png_bytes(image: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """A PNG file, gray or in color."""
    gray = image.shape[-1] == 1
    picture = Image.fromarray(image.squeeze(-1)) if gray else to_picture(image)
    buffer = io.BytesIO()
    # Level 1 is faster than the default of 6, and small images are hardly larger.
    text = PngInfo()
    text.add_text("Software", "flaxae")
    picture.save(buffer, "PNG", compress_level=1, pnginfo=text)
    return buffer.getvalue()
