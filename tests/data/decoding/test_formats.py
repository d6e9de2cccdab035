"""Files of every format, those of other programs and those that the tests write."""

import struct

import numpy as np
import pytest
from PIL.TiffImagePlugin import OPEN_INFO

from flaxae.data.decoding import BadImage, decode
from tests.data.decoding.expected import COLOUR, FIXTURES, GRAY, LIGHT, RGB, X, Y, over, same
from tests.fixtures.image_bytes import chunk, png


@pytest.mark.parametrize(
    ("name", "tolerance", "notes"),
    [
        ("colour.jpg", 2, ()),
        ("progressive.jpg", 2, ()),
        ("cmyk.jpg", 2, ()),
        ("cmyk.tif", 0, ()),
        ("jpeg.tif", 2, ()),
        ("lzw.tif", 0, ()),
        ("colour.gif", 0, ()),
        ("animated.gif", 0, ("pages",)),
        ("lossless.webp", 0, ()),
        ("animated.webp", 0, ("pages",)),
    ],
)
def test_colour_files_of_other_programs(name, tolerance, notes):
    same(FIXTURES / name, RGB, COLOUR, tolerance, natural=3, notes=notes)
    luma = np.rint(RGB @ [0.299, 0.587, 0.114])[..., None]
    same(FIXTURES / name, luma, GRAY, tolerance + 1, notes=notes)


@pytest.mark.parametrize("name", ["gray.jpg", "gray.gif"])
def test_gray_files_of_other_programs(name):
    same(FIXTURES / name, LIGHT, GRAY, 2, natural=1)
    same(FIXTURES / name, np.repeat(LIGHT, 3, -1), COLOUR, 2)


def test_lossy_webp():
    same(FIXTURES / "lossy.webp", np.broadcast_to([180, 60, 90], (16, 16, 3)), COLOUR, 3)


@pytest.mark.parametrize("background", [(0, 0, 0), (255, 10, 100)])
def test_transparency_of_webp_and_gif(background):
    how = COLOUR._replace(background=background)
    alpha = np.arange(0, 12 * 23, 23).reshape(3, 4).clip(max=255)
    alpha = np.where(np.arange(12).reshape(3, 4) == 11, 255, alpha)
    same(FIXTURES / "alpha.webp", over(RGB, alpha, background), how, 1)
    same(FIXTURES / "transparent.gif", over(RGB, np.where(X + Y, 255, 0), background), how)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_png_of_few_bits(file, bits):
    levels = np.random.default_rng(bits).integers(0, 2**bits, (3, 13, 1))
    levels[0, :2, 0] = 0, 2**bits - 1
    path = file(png(levels, bits, 0))
    same(path, levels * (255 // (2**bits - 1)), GRAY, natural=1)
    # One level is transparent: tRNS has it as the file stores it.
    path = file(png(levels, bits, 0, chunk(b"tRNS", struct.pack(">H", 1))))
    shown = np.where(levels == 1, 77, levels * (255 // (2**bits - 1)))
    same(path, shown, GRAY._replace(background=(77, 77, 77)), natural=1)


def test_gray_png_with_alpha(file):
    alpha = np.array([[0, 255, 128, 3]] * 3)
    path = file(png(np.dstack([LIGHT, alpha]), 8, 4))
    same(path, over(LIGHT, alpha, (200,)), GRAY._replace(background=(200, 200, 200)), 1, natural=1)
    path = file(png(np.dstack([LIGHT, alpha]) * 257, 16, 4))
    how = GRAY._replace(background=(200, 200, 200))
    same(path, over(LIGHT, alpha, (200,)), how, 1, natural=1, notes=["sixteen_bit"])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png(file, bits):
    count = 2**bits
    colours = np.random.default_rng(0).integers(0, 256, (count, 3)).astype(np.uint8)
    index = np.random.default_rng(1).integers(0, count, (3, 13, 1))
    palette = chunk(b"PLTE", colours.tobytes())
    same(file(png(index, bits, 3, palette)), colours[index[..., 0]], natural=3)
    alphas = np.random.default_rng(2).integers(0, 256, count).astype(np.uint8)
    path = file(png(index, bits, 3, palette + chunk(b"tRNS", alphas.tobytes())))
    how = COLOUR._replace(background=(9, 90, 200))
    same(path, over(colours, alphas, how.background)[index[..., 0]], how, 1)


def test_palette_of_grays_is_gray(file):
    index = np.array([[[0], [1], [2]]])
    palette = chunk(b"PLTE", bytes([7, 7, 7, 250, 250, 250, 90, 90, 90]))
    same(file(png(index, 8, 3, palette)), [[[7], [250], [90]]], GRAY, natural=1)


def test_colour_png(file):
    same(file(png(RGB, 8, 2)), RGB, natural=3)
    transparent = chunk(b"tRNS", struct.pack(">HHH", *RGB[1, 2]))
    shown = RGB.copy()
    shown[1, 2] = 1, 2, 3
    same(file(png(RGB, 8, 2, transparent)), shown, COLOUR._replace(background=(1, 2, 3)))


def test_kinds_of_tiff(file):
    same(file(RGB, photometric="rgb", bigtiff=True), RGB, natural=3)
    same(file(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate"), RGB)
    same(
        file(np.dstack([RGB, LIGHT]), photometric="rgb", extrasamples=["unassalpha"]),
        over(RGB, LIGHT[..., 0]),
        COLOUR,
        1,
    )
    bilevel = file(LIGHT[..., 0] > 90, photometric="minisblack")
    same(bilevel, np.where(LIGHT > 90, 255, 0), GRAY, natural=1)
    same(file(255 - LIGHT[..., 0], photometric="miniswhite"), LIGHT, GRAY, natural=1)
    light = LIGHT[..., 0].astype(np.uint16) * 257
    same(file(65535 - light, photometric="miniswhite"), LIGHT, GRAY, notes=["sixteen_bit"])
    large = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    same(file(large, photometric="rgb", tile=(16, 16), compression="zlib"), large)
    colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    path = file(LIGHT[..., 0], photometric="palette", colormap=colours * 257)
    same(path, colours.T[LIGHT[..., 0]], natural=3)
    pages = file(np.stack([LIGHT[..., 0], 0 * LIGHT[..., 0]]), photometric="minisblack")
    same(pages, LIGHT, GRAY, notes=["pages"])


def test_tiff_with_premultiplied_alpha(file):
    alpha = np.full((3, 4), 128, np.uint8)
    premultiplied = np.dstack([np.rint(RGB * (128 / 255)).astype(np.uint8), alpha])
    path = file(premultiplied, photometric="rgb", extrasamples=["assocalpha"])
    same(path, over(RGB, alpha), COLOUR, 1)


@pytest.mark.skipif((b"II", 1, (1,), 1, (8, 8), (1,)) not in OPEN_INFO, reason="an older Pillow")
def test_gray_tiff_with_premultiplied_alpha(file):
    alpha = np.full((3, 4), 128, np.uint8)
    premultiplied = np.dstack([np.rint(LIGHT * (128 / 255)).astype(np.uint8), alpha])
    path = file(
        premultiplied,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["assocalpha"],
    )
    same(path, over(LIGHT, alpha, (0,)), GRAY, 1, natural=1)


def test_tiff_that_would_be_read_wrongly_is_refused(file):
    planes = np.moveaxis(RGB, -1, 0).astype(np.uint16)
    with pytest.raises(BadImage, match="separate planes"):
        decode(file(planes, photometric="rgb", planarconfig="separate"), COLOUR)
    with pytest.raises(BadImage, match="signed 8-bit"):
        decode(file(RGB[..., 0].astype(np.int8)), GRAY)
    for unknown in (np.float16, np.float64):
        with pytest.raises(BadImage, match="unknown pixel mode"):
            decode(file(RGB[..., 0].astype(unknown)), GRAY)


@pytest.mark.parametrize("bits", [1, 8, 24, 32])
def test_bmp(file, bits):
    index = np.random.default_rng(bits).integers(0, 2, (3, 5))
    colours = np.array([[10, 200, 30], [250, 20, 60]], np.uint8)
    palette = b"".join(bytes([*colour[::-1], 0]) for colour in colours) if bits < 9 else b""
    rows = {
        1: np.packbits(index, axis=-1),
        8: index,
        24: colours[index][..., ::-1],
        32: np.dstack([colours[index][..., ::-1], index]),
    }[bits]
    rows = rows.astype(np.uint8).reshape(3, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))[::-1].tobytes()
    start = 54 + len(palette)
    data = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    data += struct.pack("<IiiHHIIiiII", 40, 5, 3, 1, bits, 0, len(rows), 0, 0, len(palette) // 4, 0)
    same(file(data + palette + rows), colours[index], natural=3)
