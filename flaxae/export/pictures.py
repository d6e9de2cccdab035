"""A picture file for each image."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flaxae.data.file_names import picture_name
from flaxae.data.splits import Split
from flaxae.errors import InputError, RunError
from flaxae.export.outputs import png_mark, require_replaceable, write_whole
from flaxae.report.figures import to_picture

Images = UInt8[np.ndarray, "n height width channels"]


def write_pictures(
    folder: Path,
    split: Split,
    draw: Callable[[np.ndarray], Images],
    batch_size: int,
    *,
    overwrite: bool = False,
) -> int:
    """Writes what `draw` makes of each image as PNG into the folder; returns their number.

    Pictures that an earlier call has written are replaced, and no other file unless `overwrite`.

    Raises:
        InputError: the folder cannot be written, or a file of somebody else has such a name.
        RunError: the disk fills up on the way; the pictures that are there are whole.
    """
    folder, count = folder.expanduser().absolute(), len(split.images)
    files = split.files or [None] * count
    paths = [folder / picture_name(row, name) for row, name in enumerate(files)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            require_replaceable(path, "--output-dir", overwrite=overwrite)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}; give a folder") from error
    for first in range(0, count, batch_size):
        pictures = draw(np.asarray(split.images[first : first + batch_size]))
        for path, picture in zip(paths[first:], pictures, strict=False):
            try:
                write_whole(path, png_bytes(picture))
            except OSError as error:
                raise RunError(
                    f"{folder} could not be written ({error.strerror or error}); make room there "
                    "and repeat the command, or give another --output-dir"
                ) from error
    return count


def png_bytes(image: UInt8[np.ndarray, "height width channels"]) -> bytes:
    """A PNG file, gray or in color."""
    gray = image.shape[-1] == 1
    picture = Image.fromarray(image.squeeze(-1)) if gray else to_picture(image)
    buffer = io.BytesIO()
    # Level 1 is faster than the default of 6, and small images are hardly larger.
    picture.save(buffer, "PNG", compress_level=1, pnginfo=png_mark())
    return buffer.getvalue()
