"""The examples of a run after each epoch, cut out of the pictures that training has drawn."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flaxae.report.figures import grid_layout, scaled_down
from flaxae.report.page.sheets import data_uri, fitted, tiled, to_image

EXAMPLES = 10  # at most
_SIDE = 64  # pixels of an example, at most
_QUALITY = 75  # of WebP

Row = UInt8[np.ndarray, "examples height width channels"]


class Examples(NamedTuple):
    """A few images, and their reconstructions after some epochs as one picture."""

    images: int  # of a row
    inputs: dict[str, str]  # what a row is, and its picture: the input, and what is noisy of it
    epochs: list[int]
    picture: str  # WebP in base64, a row of pixels' height for each epoch
    width: int
    height: int  # of one row


def examples(
    pictures: Mapping[int, Image.Image],
    names: Sequence[str],
    shape: tuple[int, int, int],
    count: int,
) -> Examples | None:
    """The examples by epoch; None if no picture is laid out as this version does.

    `names` are the rows of the pictures, the reconstruction last; `shape` is an image's, and
    `count` the images of a row. A picture may be wider than they are, for its title.
    """
    rows = {epoch: _cut(picture, names, shape, count) for epoch, picture in pictures.items()}
    found = {epoch: cut for epoch, cut in sorted(rows.items()) if cut is not None}
    if not found:
        return None
    return strips(found)


def strips(rows: Mapping[int, Mapping[str, Row]]) -> Examples:
    """Of the rows of each epoch; the last row of each is its reconstructions."""
    first = next(iter(rows.values()))
    *inputs, name = first
    drawn = [_strip(row[name]) for row in rows.values()]
    height, width, _ = drawn[0].shape
    buffer = io.BytesIO()
    to_image(np.concatenate(drawn)).save(buffer, "WEBP", quality=_QUALITY)
    return Examples(
        len(first[name]),
        {each: data_uri(to_image(_strip(first[each]))) for each in inputs},
        [*rows],
        base64.b64encode(buffer.getvalue()).decode(),
        width,
        height,
    )


def strip_uri(row: Row) -> str:
    """The images side by side, as the address of an img element."""
    return data_uri(to_image(_strip(row)))


def _strip(row: Row) -> np.ndarray:
    small = scaled_down(row, *fitted(row.shape[1], row.shape[2], _SIDE))
    return tiled(small, len(small))


def _cut(
    picture: Image.Image, names: Sequence[str], shape: tuple[int, int, int], count: int
) -> dict[str, Row] | None:
    """The images of each row of a picture; None if it is laid out in another way."""
    height, width, channels = shape
    layout = grid_layout(names, height, width)
    least, exact = layout.left + count * layout.step_x, layout.top + len(names) * layout.step_y
    if count < 1 or picture.width < least or picture.height != exact:
        return None
    array = np.asarray(picture.convert("RGB"))
    result = {}
    for number, name in enumerate(names):
        top = layout.top + number * layout.step_y
        cells = []
        for column in range(count):
            left = layout.left + column * layout.step_x
            inside = array[top : top + height * layout.scale, left : left + width * layout.scale]
            cells.append(inside[:: layout.scale, :: layout.scale])
        row = np.stack(cells)
        result[name] = row if channels == 3 else row[..., :1]
    return result
