"""From an image file to 8-bit pixels that are the same on every machine."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from flaxae.data.image_headers import (
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    TURNS,
    BadImage,
    Opened,
    open_image,
)

# Bilinear over the whole footprint of a pixel, so it does not alias. It does not ring at edges,
# and its weights need no sine, which differs between machines.
FILTER = Image.Resampling.BILINEAR
_LARGE = 2**24  # pixels, which take up to some 200 MB while they are decoded
_ONE_LARGE = Lock()


class Decoding(NamedTuple):
    """How files become pixels."""

    image_size: tuple[int, int] | None = None  # height, width; None: as it is
    channels: int | None = None  # 1 gray, 3 colour; `decode` needs one of them
    fit: str = "stretch"  # stretch, crop or pad
    background: tuple[int, int, int] = (0, 0, 0)  # RGB under transparency and around padded images
    # Of files of 16 bits and more: these values become 0 and 255. None: the high byte.
    value_range: tuple[float, float] | None = None
    own_range: bool = False  # of gray files of 16 bits: 0 and their largest value are the range
    most_pixels: int = 100_000_000  # width x height; larger images are refused undecoded


class Decoded(NamedTuple):
    """Pixels of one file, and which of "pages", "ranged", "sixteen_bit" and "dark" hold of it.

    "pages": only the first page or frame was taken. "ranged": the value range was used.
    "sixteen_bit": the file has 16 bits a sample. "dark": it has, their high byte was taken, and it
    is nowhere above 15.
    """

    pixels: UInt8[np.ndarray, "height width channels"]
    notes: frozenset[str]


def probe(path: Path, most_pixels: int) -> tuple[int, int, int]:
    """Height and width, upright, and the natural channels (1 or 3), from the header only.

    Raises:
        BadImage: the file is no image, or has more than `most_pixels`.
    """
    with open_image(path, most_pixels) as (image, _, gray, turn):
        width, height = image.size
        if turn in (TURNS[5], TURNS[6], TURNS[7], TURNS[8]):
            width, height = height, width
        return height, width, 1 if gray else 3


def decode(path: Path, how: Decoding) -> Decoded:
    """The first page of the file, upright, without alpha, in the size and channels of `how`.

    Gray and colour are converted with the weights of ITU-R 601, CMYK without a profile; colour
    profiles and gamma are ignored.

    Raises:
        BadImage: the file gives no pixels, whatever the cause.
    """
    assert how.channels in (1, 3)
    fit = FITS[how.fit]
    with open_image(path, how.most_pixels) as opened, _turn_of(opened):
        # GIF looks for a second frame, and loses the pixels: asked before loading.
        notes = {"pages"} if getattr(opened.image, "is_animated", False) else set()
        opened.image.load()
        if opened.image.mode in ("I", "F") or opened.image.mode.startswith("I;16"):
            eight_bit, highest = _from_deep_gray(opened, how)
            notes |= {"ranged"} if how.value_range is not None else set()
        else:
            eight_bit, highest = _from_bytes(opened, how.value_range)
        if opened.bits == 16:
            notes |= {"sixteen_bit"}
            if highest < 16:
                notes |= {"dark"}
        image = _flattened(eight_bit, how.background).convert("L" if how.channels == 1 else "RGB")
        if opened.turn is not None:
            image = image.transpose(opened.turn)
        if how.image_size is not None and image.size != how.image_size[::-1]:
            image = fit(image, how.image_size[::-1], how.background)
        pixels = np.array(image)  # a copy, which the caller may write to
        return Decoded(pixels.reshape(*pixels.shape[:2], how.channels), frozenset(notes))


def _turn_of(opened: Opened) -> AbstractContextManager[object]:
    """Holds the only turn of large images, which threads would decode side by side."""
    large = opened.image.width * opened.image.height > _LARGE
    return _ONE_LARGE if large else nullcontext()


def _from_deep_gray(opened: Opened, how: Decoding) -> tuple[Image.Image, int]:
    """Gray of 16 bits and more as 8 bits, and its highest high byte; 255 if a range was used."""
    values, tag = np.asarray(opened.image), getattr(opened.image, "tag_v2", {})
    if values.dtype == np.int32 and opened.bits == 32 and tag.get(SAMPLE_FORMAT, (1,))[0] == 1:
        values = values.view(np.uint32)  # Pillow has signed integers only
    deep = values.dtype.kind == "u" and values.dtype.itemsize == 2
    value_range = how.value_range
    if value_range is None and not deep:
        kind = "floats" if values.dtype.kind == "f" else "signed or 32-bit integers"
        raise BadImage(f"has {kind} as pixels, which need a value range")
    if how.own_range and deep:
        value_range = (0.0, float(max(values.max(), 1)))
    transparent = opened.image.info.get("transparency")
    if value_range is None:
        gray = (values >> (opened.bits - 8)).astype(np.uint8)  # TIFF may have 12
    elif deep:  # a table takes less memory than floats
        gray = _scaled(np.arange(2**16, dtype=np.float64), value_range)[values]
    else:
        gray = _scaled(values.astype(np.float64), value_range)
    if tag and tag.get(PHOTOMETRIC, 0) == 0:
        gray = 255 - gray  # white is zero, which Pillow inverts in 8 bits only
    result = Image.fromarray(gray)
    if transparent is not None:
        result.putalpha(Image.fromarray(np.uint8(255) * (values != transparent)))
    return result, int(values.max()) >> 8 if value_range is None else 255


def _scaled(
    values: Shaped[np.ndarray, " *shape"], value_range: tuple[float, float]
) -> UInt8[np.ndarray, " *shape"]:
    """The float64 `values`, which are overwritten, with `value_range` as 0..255."""
    low, high = value_range
    if np.isnan(values.min()):  # the minimum is NaN where a value is
        raise BadImage("has pixels that are NaN")
    np.clip(values, low, high, out=values)
    values -= low
    values *= 255 / (high - low)
    return np.rint(values, out=values).astype(np.uint8)


def _from_bytes(opened: Opened, value_range: tuple[float, float] | None) -> tuple[Image.Image, int]:
    """The image, whose samples Pillow gives as 8 bits, and the highest high byte if they had 16."""
    image = opened.image
    if opened.bits < 16:
        return image, 0
    if value_range is not None:
        raise BadImage("has 16-bit colour or alpha; a value range needs gray without alpha")
    if "transparency" in image.info:  # compared in 16 bits, of which Pillow gives 8
        raise BadImage("has 16-bit colour of which one is transparent; save it with alpha")
    return image, int(np.reshape(image.getextrema(), (-1, 2))[:3, 1].max())  # without alpha


def _flattened(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """The image in L or RGB, composited over the background where it is transparent."""
    if image.mode in ("La", "RGBa"):  # premultiplied: Pillow converts it only to the same bands
        image = image.convert(image.mode.upper())
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        under = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(under, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _stretch(image: Image.Image, size: tuple[int, int], _: tuple[int, int, int]) -> Image.Image:
    return image.resize(size, FILTER)


def _crop(image: Image.Image, size: tuple[int, int], _: tuple[int, int, int]) -> Image.Image:
    """The largest centred part of the shape of `size`, resized."""
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = min(size[0] / scale, image.width), min(size[1] / scale, image.height)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, FILTER, box=(left, top, left + width, top + height))


def _pad(
    image: Image.Image, size: tuple[int, int], background: tuple[int, int, int]
) -> Image.Image:
    """The whole image within `size`, centred on the background."""
    scale = min(size[0] / image.width, size[1] / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", size, background).convert(image.mode)
    canvas.paste(
        image.resize((width, height), FILTER), ((size[0] - width) // 2, (size[1] - height) // 2)
    )
    return canvas


FITS = {"stretch": _stretch, "crop": _crop, "pad": _pad}
