"""Opens an image file and reads what its header says, before any pixel is decoded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

# The classes are called without `Image.open`, which warns above a number of pixels of its own:
# a warning cannot be silenced in one thread only.
FORMATS: dict[bytes, Callable[[BinaryIO], ImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"RIFF": WebPImageFile,
    b"BM": BmpImageFile,
    b"GIF8": GifImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Tags of TIFF.
BITS, COMPRESSION, PHOTOMETRIC, PLANES = 258, 259, 262, 284
TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT = 322, 323, 339
LARGEST_EXIF = 2**20  # bytes that are read, whatever a file claims
LARGE_TILE = 2**22  # pixels; small images may lie in one tile of this size


class BadImage(Exception):
    """A file that gives no pixels; the message is the reason, in one line."""


class Opened(NamedTuple):
    """A file of which the header is read."""

    image: ImageFile
    bits: int  # of a sample, of PNG and TIFF; else 8
    gray: bool
    turn: Image.Transpose | None


@contextmanager
def open_image(path: Path, most_pixels: int) -> Iterator[Opened]:
    """The file with its header read; it is closed afterwards, and every error is BadImage."""
    try:
        if not path.is_file():  # a pipe would block
            raise BadImage("is no regular file")
        # A file object, not a path: Pillow would map uncompressed files into memory, and a file
        # that is cut meanwhile would end the process.
        with path.open("rb") as file:
            yield _header(file, most_pixels)
    except BadImage:
        raise
    # Pillow has no common error: damaged files give OSError, SyntaxError, ValueError, IndexError,
    # struct.error, zlib.error, MemoryError and others. One bad file must not end a whole import.
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadImage(f"cannot be decoded: {text.splitlines()[0]}") from error


def _header(file: BinaryIO, most_pixels: int) -> Opened:
    """What the file says about itself before its pixels."""
    head = file.read(32)
    plugin = next((FORMATS[start] for start in FORMATS if head.startswith(start)), None)
    if plugin is None:
        raise BadImage("is no PNG, JPEG, WebP, BMP, TIFF or GIF" if head else "is empty")
    late_exif = _exif_of_png(file) if plugin is PngImageFile else None
    file.seek(0)
    image = plugin(file)
    pixels, allowed, bits = image.width * image.height, most_pixels, 8
    gray = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
    if isinstance(image, PngImageFile):
        bits = head[24]
        gray |= not head[25] & 2  # 16-bit gray with alpha has the mode RGBA
        if bits < 8 and gray and "transparency" in image.info:
            # Pillow scales the pixels to 8 bits, but this level at most if it has 1 bit.
            level = image.info["transparency"] * (255 // (2**bits - 1))
            image.info["transparency"] = min(level, 255)
        if late_exif is not None:
            image.info["exif"] = late_exif
    elif isinstance(image, TiffImageFile):
        bits = max(image.tag_v2.get(BITS, (1,)))
        allowed = min(most_pixels, Image.MAX_IMAGE_PIXELS or most_pixels)  # it warns above
        _check_tiff(image, bits)
    if pixels > allowed:
        raise BadImage(f"has {image.width} x {image.height} pixels; at most {allowed} are decoded")
    if image.palette is not None and image.mode in ("P", "PA"):
        gray = _gray_palette(*image.palette.getdata())
    return Opened(image, bits, gray, _turn(image))


def _check_tiff(image: TiffImageFile, bits: int) -> None:
    """Refuses what Pillow would take too much memory for, or read wrongly without an error."""
    tag, pixels = image.tag_v2, image.width * image.height
    tile = tag.get(TILE_WIDTH, 1) * tag.get(TILE_LENGTH, 1)
    if tile > max(4 * pixels, LARGE_TILE):
        raise BadImage(f"has tiles of {tile} pixels in an image of {pixels}")
    if bits == 8 and tag.get(SAMPLE_FORMAT, (1,))[0] == 2:
        raise BadImage("has signed 8-bit pixels; save it unsigned")
    separate = tag.get(PLANES) == 2 and tag.get(COMPRESSION, 1) == 1
    if bits == 16 and separate and len(image.getbands()) > 1:
        raise BadImage("has 16-bit colours in separate planes, uncompressed; save it interleaved")


def _exif_of_png(file: BinaryIO) -> bytes | None:
    """The eXIf chunk of a PNG, which may come after the pixels, where Pillow's header ends."""
    file.seek(8)
    while len(chunk := file.read(8)) == 8:
        size = int.from_bytes(chunk[:4], "big")
        if chunk[4:] == b"eXIf":
            return file.read(min(size, LARGEST_EXIF))
        file.seek(size + 4, 1)
    return None


def _turn(image: ImageFile) -> Image.Transpose | None:
    """What makes the image upright. Pillow turns TIFF itself, with its size."""
    if isinstance(image, TiffImageFile):
        return None
    # Of the base class: PNG's own loads the pixels first.
    return TURNS.get(Image.Image.getexif(image).get(Base.Orientation, 1))


def _gray_palette(mode: str, entries: bytes) -> bool:
    """Whether no entry of a palette is coloured."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(entries, mode)
    red, green, blue = np.reshape(palette.getpalette() or (), (-1, 3)).T
    return bool(np.all((red == green) & (green == blue)))
