"""Many small pictures as sheets, which are much smaller than a file for each picture."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flaxae.report.figures import scaled_down

SIDE = 16  # pictures in a row and in a column of a sheet, which is decoded as a whole for a hover
_QUALITY = 40  # of WebP; the error of its own is a tenth of a good reconstruction's
_SIZES = (64, 56, 48, 40, 32, 28, 24, 20, 16)  # pixels of a picture's longer side

Pictures = UInt8[np.ndarray, "pictures _ _ _"]


class Plan(NamedTuple):
    """The size of the pictures, and how many reconstructions fit beside the thumbnails."""

    width: int
    height: int
    reconstructions: int


def plan(
    images: Pictures,
    reconstructions: Pictures,
    thumbnails: int,
    least: int,
    most_bytes: int,
    copies: int = 1,
) -> Plan:
    """The largest size for which the thumbnails and `least` reconstructions fit.

    Args:
        images: Some of the images, of which the sizes of all are estimated.
        reconstructions: As many of theirs.
        thumbnails: The number of thumbnails.
        least: The number of reconstructions that must fit too.
        most_bytes: The size that all of them may have in base64.
        copies: Pictures for each reconstruction: 2 if its target is shown too.
    """
    height, width = images.shape[1:3]
    longest = min(max(height, width), _SIZES[0])
    sizes = [longest, *(side for side in _SIZES if side < longest)]

    def planned(side: int) -> tuple[Plan, bool]:
        shape = fitted(height, width, side)
        each, one = (_bytes_each(scaled_down(some, *shape)) for some in (images, reconstructions))
        other = copies * one
        room = most_bytes - thumbnails * each
        count = min(thumbnails, max(least, int(room / other)))
        return Plan(shape[1], shape[0], count), room >= least * other

    plans = (planned(side) for side in sizes)
    return next((found for found, fits in plans if fits), planned(sizes[-1])[0])


def _bytes_each(pictures: Pictures) -> float:
    return sum(map(len, encode(pictures))) / len(pictures)


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width, scaled down so that the longer one is at most `side`."""
    longest = max(height, width)
    limit = min(longest, side)
    return max(1, height * limit // longest), max(1, width * limit // longest)


def encode(pictures: Pictures) -> list[str]:
    """The sheets in base64; picture i is in sheet i // 256, row by row of 16."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_webp, _cut(pictures)))


def data_uri(picture: Image.Image) -> str:
    """A picture without loss as the address of an img element."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def tiled(pictures: Pictures, columns: int) -> np.ndarray:
    """The pictures row by row in one array [H, W, channels]; missing ones are black."""
    count, height, width, channels = pictures.shape
    rows = -(-count // columns)
    grid = np.zeros((rows * columns, height, width, channels), np.uint8)
    grid[:count] = pictures
    grid = grid.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, channels)


def to_image(array: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    """A picture in gray or RGB."""
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)


def _cut(pictures: Pictures) -> Iterator[Pictures]:
    for first in range(0, len(pictures), SIDE * SIDE):
        yield pictures[first : first + SIDE * SIDE]


def _webp(pictures: Pictures) -> str:
    buffer = io.BytesIO()
    to_image(tiled(pictures, SIDE)).save(buffer, "WEBP", quality=_QUALITY, method=3)
    return base64.b64encode(buffer.getvalue()).decode()
