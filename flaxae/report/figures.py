"""Pictures for people: grids of reconstructions, and their animation over the epochs."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps

_CELL = 64  # pixels that an image is enlarged to, at least, by a whole factor
_GAP = 4
_FONT_SIZE = 14
_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_FRAME_MS, _LAST_FRAME_MS = 200, 2000
_WEBP_SIDE = 16_383  # pixels; WebP has no larger pictures


def reconstruction_grid(
    rows: Mapping[str, UInt8[np.ndarray, "examples height width channels"]], title: str
) -> Image.Image:
    """Rows of images below a title, each row with its name at the left."""
    count, height, width, _ = next(iter(rows.values())).shape
    left, top, step_x, step_y, scale = grid_layout([*rows], height, width)
    font = ImageFont.load_default(_FONT_SIZE)
    size = (left + count * step_x, top + len(rows) * step_y)
    picture = Image.new("RGB", (max(size[0], left + int(font.getlength(title))), size[1]), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((left, _GAP), title, _INK, font)
    for row, (name, images) in enumerate(rows.items()):
        y = top + row * step_y
        draw.text((_GAP, y + height * scale // 2), name, _INK, font, anchor="lm")
        for column, image in enumerate(images):
            cell = to_picture(image).resize(
                (width * scale, height * scale), Image.Resampling.NEAREST
            )
            picture.paste(cell, (left + column * step_x, y))
    return picture


class GridLayout(NamedTuple):
    """Where the images of a grid are, in pixels."""

    left: int  # of the first image
    top: int
    step_x: int  # from one image to the next
    step_y: int
    scale: int  # by which images are enlarged


def grid_layout(names: Sequence[str], height: int, width: int) -> GridLayout:
    """The layout of `reconstruction_grid`, for rows of these names."""
    scale = enlargement(height, width)
    font = ImageFont.load_default(_FONT_SIZE)
    left = max(int(font.getlength(name)) for name in names) + 2 * _GAP
    return GridLayout(
        left, _FONT_SIZE + 2 * _GAP, width * scale + _GAP, height * scale + _GAP, scale
    )


def enlargement(height: int, width: int) -> int:
    """The whole factor by which a grid enlarges images of this size."""
    return max(1, -(-_CELL // max(height, width)))


def to_picture(image: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    """An RGB picture of an image; the mean of its channels if there are not three."""
    if image.shape[-1] != 3:
        image = image.mean(-1, keepdims=True).round().astype(np.uint8).repeat(3, -1)
    return Image.fromarray(image, "RGB")


def scaled_down(
    images: UInt8[np.ndarray, "examples _ _ _"], height: int, width: int
) -> UInt8[np.ndarray, "examples _ _ _"]:
    """The images in a smaller size, in RGB, or in gray: the mean of other numbers of channels."""
    if images.shape[-1] not in (1, 3):
        images = images.mean(-1, keepdims=True).round().astype(np.uint8)
    if images.shape[1:3] == (height, width):
        return images
    # A box filter, because it does not overshoot: light strokes keep their brightness.
    pictures = [Image.fromarray(i.squeeze(-1) if i.shape[-1] == 1 else i) for i in images]
    arrays = [np.asarray(p.resize((width, height), Image.Resampling.BOX)) for p in pictures]
    return np.stack(arrays).reshape(len(images), height, width, -1)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def animation(frames: Sequence[Image.Image]) -> bytes:
    """The frames as an animated WebP file that repeats, with a pause on the last frame."""
    width, height = max(frame.width for frame in frames), max(frame.height for frame in frames)
    scale = min(1.0, _WEBP_SIDE / max(width, height))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    first, *others = (ImageOps.pad(frame, size, color=_PAPER, centering=(0, 0)) for frame in frames)
    buffer = io.BytesIO()
    first.save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=[_FRAME_MS] * len(others) + [_LAST_FRAME_MS],
        loop=0,
        lossless=True,
    )
    return buffer.getvalue()
