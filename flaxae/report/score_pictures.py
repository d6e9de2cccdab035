"""Pictures of odd images: each beside its reconstruction and its error map, on one scale."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from flaxae.report.figures import to_picture

_CELL = 96  # pixels that an image is enlarged to, at least, by a whole factor
_GAP = 4
_FONT_SIZE = 12
_COLUMNS = 4
_PAPER, _INK, _ALARM = (255, 255, 255), (40, 40, 40), (200, 30, 30)
_LEGEND = 200  # pixels of the color bar


class Oddity(NamedTuple):
    """An image with what is drawn of it."""

    image: UInt8[np.ndarray, "height width channels"]
    reconstruction: UInt8[np.ndarray, "height width channels"]
    error: Float32[np.ndarray, "height width"]  # root of the channels' mean squared error
    text: str  # in ASCII
    anomaly: bool


def oddity_grid(oddities: Sequence[Oddity], scale: float, title: str) -> Image.Image:
    """The images in rows of four, each with its text in red if it is an anomaly, and the legend."""
    font = ImageFont.load_default(_FONT_SIZE)
    parts = [panels(oddity, scale) for oddity in oddities]
    width, height = parts[0].size
    line = _FONT_SIZE + 2 * _GAP
    cell = (width + 4 * _GAP, height + line + 2 * _GAP)
    columns = min(_COLUMNS, len(parts))
    rows = -(-len(parts) // columns)
    legend = legend_bar(scale)
    wide = max(columns * cell[0], legend.width, int(font.getlength(title)) + 2 * _GAP)
    picture = Image.new("RGB", (wide, line + rows * cell[1] + legend.height), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_GAP, _GAP), title, _INK, font)
    for place, (oddity, part) in enumerate(zip(oddities, parts, strict=True)):
        left, top = place % columns * cell[0] + _GAP, line + place // columns * cell[1]
        text = _fitting(oddity.text, width, font)
        draw.text((left, top), text, _ALARM if oddity.anomaly else _INK, font)
        picture.paste(part, (left, top + line))
    picture.paste(legend, (0, picture.height - legend.height))
    return picture


def oddity_picture(oddity: Oddity, scale: float) -> Image.Image:
    """One image, its reconstruction and its error map, with the legend below."""
    part, legend = panels(oddity, scale), legend_bar(scale)
    width = max(part.width, legend.width)
    picture = Image.new("RGB", (width, part.height + legend.height), _PAPER)
    picture.paste(part, (0, 0))
    picture.paste(legend, (0, part.height))
    return picture


def panels(oddity: Oddity, scale: float) -> Image.Image:
    """Image, reconstruction and error map side by side."""
    height, width = oddity.error.shape
    factor = max(1, -(-_CELL // max(height, width)))
    colored = Image.fromarray(colors(oddity.error, scale), "RGB")
    drawn = [to_picture(oddity.image), to_picture(oddity.reconstruction), colored]
    size = (width * factor, height * factor)
    picture = Image.new("RGB", (3 * size[0] + 2 * _GAP, size[1]), _PAPER)
    for place, each in enumerate(drawn):
        picture.paste(each.resize(size, Image.Resampling.NEAREST), (place * (size[0] + _GAP), 0))
    return picture


def colors(error: Float32[np.ndarray, "height width"], scale: float) -> UInt8[np.ndarray, "h w 3"]:
    """The color of each error; those of `scale` and above are the brightest."""
    return _table()[np.clip(error / scale * 255, 0, 255).astype(np.uint8)]


def legend_bar(scale: float) -> Image.Image:
    """The colors with their errors."""
    font = ImageFont.load_default(_FONT_SIZE)
    more = " and more" if scale < 1 else ""
    before, after = "error 0", f"{scale:.2g}{more}, of the pixel range 0..1"
    left = int(font.getlength(before)) + 2 * _GAP
    width = left + _LEGEND + int(font.getlength(after)) + 3 * _GAP
    picture = Image.new("RGB", (width, _FONT_SIZE + 4 * _GAP), _PAPER)
    draw = ImageDraw.Draw(picture)
    bar = np.tile(np.arange(_LEGEND) * 255 // (_LEGEND - 1), (_FONT_SIZE, 1)).astype(np.uint8)
    picture.paste(Image.fromarray(_table()[bar], "RGB"), (left, 2 * _GAP))
    draw.text((_GAP, 2 * _GAP - 1), before, _INK, font)
    draw.text((left + _LEGEND + _GAP, 2 * _GAP - 1), after, _INK, font)
    return picture


@cache
def _table() -> UInt8[np.ndarray, "256 3"]:
    return (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, with its end cut off where there is no room."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
