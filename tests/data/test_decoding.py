"""Files that other programs wrote, or that the tests write byte by byte, and damaged ones."""

import os
import struct
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import OPEN_INFO

from flaxae.data.decoding import BadImage, Decoding, decode, probe
from tests.fixtures.fuzzing import damaged, fuzzed

FIXTURES = Path(__file__).parents[1] / "fixtures" / "images"
GRAY, COLOUR = Decoding(channels=1), Decoding(channels=3)
Y, X = np.mgrid[:3, :4]
RGB = np.stack([60 * X + 20, 70 * Y + 30, 200 - 30 * X - 20 * Y], -1).astype(np.uint8)
LIGHT = (60 * X + 10 * Y).astype(np.uint8)[..., None]
PNG_START = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width, height, bits, kind):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))


def png(samples, bits, kind, before=b"", after=b""):
    """A PNG of [height, width, samples]; `kind` is its colour type."""
    samples = np.asarray(samples)
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        planes = np.unpackbits(samples.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = [np.packbits(row).tobytes() for row in planes]
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    start = PNG_START + header(samples.shape[1], samples.shape[0], bits, kind)
    return start + before + chunk(b"IDAT", data) + after + chunk(b"IEND", b"")


def tiff(tags, data, order="<"):
    """A TIFF of one strip or tile: `tags` are (tag, value), and "data" stands for its place."""
    place = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(order + "HHII", tag, 4, 1, place if value == "data" else value)
        for tag, value in sorted(tags)
    )
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return start + entries + bytes(4) + data


def exif(orientation):
    return b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0" + bytes([orientation]) + bytes(6)


def jpeg_with(data, exif_bytes):
    segment = b"Exif\0\0" + exif_bytes
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def upright(stored, orientation):
    """What the values of EXIF mean."""
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: np.swapaxes(stored, 0, 1),
        6: np.rot90(stored, -1),
        7: np.swapaxes(stored[::-1, ::-1], 0, 1),
        8: np.rot90(stored, 1),
    }[orientation]


def over(samples, alpha, background=(0, 0, 0)):
    """Composited as real numbers."""
    part = np.asarray(alpha, float)[..., None] / 255
    return samples * part + np.array(background) * (1 - part)


@pytest.fixture
def file(tmp_path):
    """Writes bytes, or an array with tifffile, and gives the path."""

    def write(content, **options):
        path = tmp_path / "file"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            tifffile.imwrite(path, content, **options)
        return path

    return write


def same(path, expected, how=COLOUR, tolerance=0, natural=None, notes=()):
    """The decoded pixels are `expected`, and the header says the same size."""
    decoded = decode(path, how)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == np.shape(expected)
    assert decoded.pixels.flags.writeable
    np.testing.assert_allclose(decoded.pixels.astype(float), expected, rtol=0, atol=tolerance)
    assert decoded.notes == set(notes)
    assert probe(path, 10**6)[:2] == np.shape(expected)[:2]
    if natural is not None:
        assert probe(path, 10**6)[2] == natural


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


def test_hidden_colours_do_not_show_after_a_resize(file):
    samples = np.zeros((8, 8, 4), np.uint8)
    samples[:, ::2] = 255, 0, 0, 0  # red, and not to be seen
    samples[:, 1::2] = 0, 0, 200, 255
    how = COLOUR._replace(image_size=(2, 2), background=(0, 100, 0))
    pixels = decode(file(png(samples, 8, 6)), how).pixels
    assert pixels[..., 0].max() == 0
    np.testing.assert_allclose(pixels[..., 2], 100, atol=15)


def test_sixteen_bits_give_the_high_byte(file):
    deep = np.random.default_rng(0).integers(0, 65536, (3, 4, 4)).astype(np.uint16)
    notes, high = ["sixteen_bit"], deep >> 8
    same(file(png(deep[..., :1], 16, 0)), high[..., :1], GRAY, notes=notes, natural=1)
    same(file(png(deep[..., :3], 16, 2)), high[..., :3], notes=notes, natural=3)
    same(file(png(deep, 16, 6)), over(high[..., :3], high[..., 3]), COLOUR, 1, notes=notes)
    for options in ({}, {"compression": "zlib"}, {"byteorder": ">"}):
        same(file(deep[..., 0], **options), high[..., :1], GRAY, notes=notes, natural=1)
        path = file(deep[..., :3], photometric="rgb", **options)
        same(path, high[..., :3], notes=notes, natural=3)


def test_sixteen_bits_with_a_transparent_level(file):
    deep = np.array([[[256], [257], [60000]]])
    path = file(png(deep, 16, 0, chunk(b"tRNS", struct.pack(">H", 257))))
    how = GRAY._replace(background=(50, 50, 50))
    same(path, [[[1], [50], [234]]], how, notes=["sixteen_bit"])
    colour = png(deep.repeat(3, -1), 16, 2, chunk(b"tRNS", struct.pack(">HHH", 257, 257, 257)))
    with pytest.raises(BadImage, match="one is transparent"):
        decode(file(colour), COLOUR)


def test_a_value_range_is_scaled_and_clipped(file):
    deep = np.array([[0, 100, 101, 2148, 4195, 65535]], np.uint16)
    expected = np.array([[0, 0, 0, 128, 255, 255]])[..., None]
    how = GRAY._replace(value_range=(100.0, 4195.0))
    same(file(png(deep[..., None], 16, 0)), expected, how, notes=["ranged", "sixteen_bit"])
    same(file(deep), expected, how, notes=["ranged", "sixteen_bit"])
    for kind in (np.float32, np.uint32, np.int32):
        same(file(deep.astype(kind)), expected, how, natural=1, notes=["ranged"])
    signed = np.array([[-32768, -1000, 1047.5, 32767]]).astype(np.int16)
    how = how._replace(value_range=(-1000.0, 3095.0))
    same(file(signed), [[[0], [0], [127], [255]]], how, notes=["ranged", "sixteen_bit"])
    same(file(np.array([[3_000_000_000]], np.uint32)), [[[255]]], how, notes=["ranged"])
    floats = np.array([[-np.inf, np.inf, 3e38]], np.float32)
    same(file(floats), [[[0], [255], [255]]], how, notes=["ranged"])
    same(FIXTURES / "gray.gif", LIGHT, how)  # 8 bits stay as they are


def test_a_value_range_must_be_usable(file):
    how = GRAY._replace(value_range=(0.0, 1.0))
    for kind, reason in ((np.float32, "floats"), (np.int16, "signed"), (np.uint32, "32-bit")):
        with pytest.raises(BadImage, match=f"{reason}.* need a value range"):
            decode(file(np.zeros((2, 2), kind)), GRAY)
    with pytest.raises(BadImage, match="NaN"):
        decode(file(np.array([[0, np.nan]], np.float32)), how)
    with pytest.raises(BadImage, match="16-bit colour"):
        decode(file(png(RGB, 16, 2)), how._replace(channels=3))


def test_twelve_bits_in_sixteen_are_dark(file):
    deep = np.array([[[0], [4095]]])
    dark = ["sixteen_bit", "dark"]
    same(file(png(deep, 16, 0)), deep >> 8, GRAY, notes=dark)
    same(file(png(deep.repeat(3, -1), 16, 2)), deep.repeat(3, -1) >> 8, notes=dark)
    opaque = np.dstack([deep.repeat(3, -1), np.full((1, 2), 65535)])
    same(file(png(opaque, 16, 6)), deep.repeat(3, -1) >> 8, notes=dark)
    same(file(png(deep + 1, 16, 0)), (deep + 1) >> 8, GRAY, notes=["sixteen_bit"])
    how = GRAY._replace(value_range=(0.0, 4095.0))
    same(file(png(deep, 16, 0)), [[[0], [255]]], how, notes=["ranged", "sixteen_bit"])


def test_a_tiff_that_says_twelve_bits_is_not_dark(file):
    packed = bytes([0xFF, 0xF8, 0x00, 0x01, 0x00, 0x00])  # 4095, 2048 | 16, 0
    tags = [(256, 2), (257, 2), (258, 12), (259, 1), (262, 1), (277, 1), (278, 2), (279, 6)]
    same(file(tiff([*tags, (273, "data")], packed)), [[[255], [128]], [[1], [0]]], GRAY)


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_turned_upright(file, orientation):
    expected = upright(RGB, orientation)
    jpeg = (FIXTURES / "colour.jpg").read_bytes()
    same(file(jpeg_with(jpeg, exif(orientation))), expected, COLOUR, 2)
    # ImageMagick writes this chunk after the pixels.
    for place in ("before", "after"):
        path = file(png(RGB, 8, 2, **{place: chunk(b"eXIf", exif(orientation))}))
        same(path, expected)
    webp = (FIXTURES / "lossless.webp").read_bytes()[12:]
    size = (3).to_bytes(3, "little") + (2).to_bytes(3, "little")
    parts = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + size + webp
    parts += b"EXIF" + struct.pack("<I", 26) + exif(orientation)
    same(file(b"RIFF" + struct.pack("<I", len(parts) + 4) + b"WEBP" + parts), expected)
    tag = [(274, "H", 1, orientation, True)]
    for options in ({}, {"compression": "zlib"}):
        same(file(RGB, photometric="rgb", extratags=tag, **options), expected)
    deep = RGB[..., 0].astype(np.uint16) * 257
    same(file(deep, extratags=tag), expected[..., :1], GRAY, notes=["sixteen_bit"])


def test_an_unknown_orientation_turns_nothing(file):
    jpeg = (FIXTURES / "colour.jpg").read_bytes()
    for orientation in (0, 9):
        same(file(jpeg_with(jpeg, exif(orientation))), RGB, COLOUR, 2)


def striped(file, turned=False):
    """40 x 80 pixels: 20 columns of red, 40 of green, 20 of blue."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :20, 0], image[:, 20:60, 1], image[:, 60:, 2] = 200, 200, 200
    after = chunk(b"eXIf", exif(6)) if turned else b""
    return file(png(image, 8, 2, after=after))


def test_stretch(file):
    pixels = decode(striped(file), COLOUR._replace(image_size=(10, 8))).pixels
    assert pixels.shape == (10, 8, 3)
    np.testing.assert_array_equal(pixels[:, 0], np.tile([200, 0, 0], (10, 1)))
    np.testing.assert_array_equal(pixels[:, 3:5], np.full((10, 2, 3), [0, 200, 0]))
    np.testing.assert_array_equal(pixels[:, 7], np.tile([0, 0, 200], (10, 1)))


def test_crop_keeps_the_centre(file):
    how = COLOUR._replace(image_size=(10, 10), fit="crop")
    pixels = decode(striped(file), how).pixels
    np.testing.assert_array_equal(pixels[:, 1:-1], np.full((10, 8, 3), [0, 200, 0]))
    whole = decode(striped(file), COLOUR._replace(image_size=(10, 20))).pixels
    np.testing.assert_array_equal(pixels, whole[:, 5:15])
    narrow = decode(striped(file), how._replace(image_size=(4, 8))).pixels  # its own shape
    stretched = decode(striped(file), COLOUR._replace(image_size=(4, 8))).pixels
    np.testing.assert_array_equal(narrow, stretched)


def test_pad_keeps_everything(file):
    how = COLOUR._replace(image_size=(16, 16), fit="pad", background=(1, 2, 3))
    pixels = decode(striped(file), how).pixels
    np.testing.assert_array_equal(pixels[:4], np.full((4, 16, 3), [1, 2, 3]))
    np.testing.assert_array_equal(pixels[12:], np.full((4, 16, 3), [1, 2, 3]))
    whole = decode(striped(file), COLOUR._replace(image_size=(8, 16))).pixels
    np.testing.assert_array_equal(pixels[4:12], whole)
    gray = decode(striped(file), how._replace(channels=1, background=(255, 0, 0))).pixels
    assert gray[0, 0, 0] == 76  # 0.299 of 255


def test_files_are_turned_before_they_are_fitted(file):
    how = COLOUR._replace(image_size=(16, 8))
    pixels = decode(striped(file, turned=True), how).pixels
    np.testing.assert_array_equal(pixels[0], np.tile([200, 0, 0], (8, 1)))
    np.testing.assert_array_equal(pixels[-1], np.tile([0, 0, 200], (8, 1)))


def test_resizing_does_not_alias(file):
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = decode(file(png(checks[..., None], 8, 0)), GRAY._replace(image_size=(8, 8))).pixels
    np.testing.assert_allclose(pixels.astype(float), 127.5, atol=3)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_any_shape_fits_any_shape(file, fit):
    for height, width in ((1, 1), (1, 300), (300, 1), (7, 5)):
        path = file(png(np.full((height, width, 1), 99), 8, 0))
        for size in ((1, 1), (2, 50), (33, 3)):
            how = GRAY._replace(image_size=size, fit=fit, background=(99, 99, 99))
            np.testing.assert_array_equal(decode(path, how).pixels, np.full((*size, 1), 99))


def test_deep_files_are_scaled_before_they_are_resized(file):
    deep = np.full((8, 8), 3000, np.uint16)
    how = GRAY._replace(value_range=(2000.0, 4000.0), image_size=(2, 2))
    np.testing.assert_array_equal(decode(file(deep), how).pixels, np.full((2, 2, 1), 128))


def refused(path, reason, how=COLOUR):
    for read in (lambda: decode(path, how), lambda: probe(path, how.most_pixels)):
        with pytest.raises(BadImage, match=reason) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_what_is_no_image_is_refused(file, tmp_path):
    refused(file(b""), "empty")
    refused(file(b"hello, world"), "is no PNG")
    refused(file(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "is no PNG")
    refused(tmp_path, "no regular file")
    refused(tmp_path / "missing", "no regular file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "no regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_refused(file):
    path = file(png(RGB, 8, 2))
    path.chmod(0)
    refused(path, "Permission denied")


def test_large_images_are_refused_before_they_are_decoded(file):
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    bomb = file(PNG_START + header(60_000, 60_000, 8, 2) + data)
    refused(bomb, "60000 x 60000 pixels; at most 100000000")
    # Above this number Pillow would warn, and the tests would fail.
    assert (Image.MAX_IMAGE_PIXELS or 0) < 9_500**2
    assert probe(file(PNG_START + header(9_500, 9_500, 1, 0) + data), 10**8) == (9500, 9500, 1)
    tags = [(256, 9_500), (257, 9_500), (258, 8), (262, 1), (273, "data"), (279, 9)]
    refused(file(tiff(tags, b"123456789")), "at most 89478485")
    refused(file(png(RGB, 8, 2)), "4 x 3 pixels; at most 11", COLOUR._replace(most_pixels=11))
    same(file(png(RGB, 8, 2)), RGB, COLOUR._replace(most_pixels=12))


def test_a_small_tiff_with_a_large_tile_is_refused(file):
    tags = [(256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (322, 16_000), (323, 16_000)]
    data = zlib.compress(bytes(1000))
    refused(file(tiff([*tags, (324, "data"), (325, len(data))], data)), "tiles of 256000000")


def test_text_and_profiles_that_expand_are_refused(file):
    bomb = zlib.compress(bytes(20_000_000))
    for kind in (b"zTXt", b"iCCP"):
        refused(file(png(RGB, 8, 2, chunk(kind, b"a\0\0" + bomb))), "too large")


def valid_files():
    """A small file of each format, and the pixels that it decodes to."""
    files = {path.name: path.read_bytes() for path in FIXTURES.glob("*.*") if path.suffix != ".md"}
    files["colour.png"] = png(RGB, 8, 2, chunk(b"eXIf", exif(1)))
    files["gray16.png"] = png(LIGHT.astype(np.uint16) * 257, 16, 0)
    files["turned.jpg"] = jpeg_with(files["colour.jpg"], exif(6))
    tags = [(256, 4), (257, 3), (258, 8), (259, 1), (262, 1), (277, 1), (278, 3), (279, 12)]
    files["gray.tif"] = tiff([*tags, (273, "data")], LIGHT.tobytes())
    return files


FILES = valid_files()


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused_or_whole(file, name):
    whole = decode(file(FILES[name]), COLOUR).pixels
    outcomes = []
    for length in range(0, len(FILES[name]), 8):
        path = file(FILES[name][:length])
        try:
            np.testing.assert_array_equal(decode(path, COLOUR).pixels, whole)
            outcomes.append("whole")
        except BadImage:
            outcomes.append("refused")
    assert "refused" in outcomes[: len(outcomes) // 2 + 1]


def outcome(data, how):
    """Decodes; only BadImage may be raised, and no file may stay open."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder, "file")
        path.write_bytes(data)
        reasons = []
        for read in (lambda: decode(path, how).pixels, lambda: probe(path, 10**5)):
            try:
                read()
            except BadImage as error:
                reasons.append(str(error))
    assert all(len(reason.splitlines()) == 1 for reason in reasons)


HOWS = st.builds(
    Decoding,
    image_size=st.sampled_from([None, (2, 3)]),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    value_range=st.sampled_from([None, (0.0, 100.0)]),
    most_pixels=st.just(10**5),
)
STARTS = [
    b"",
    PNG_START,
    b"\xff\xd8\xff\xe0",
    b"RIFF\x30\0\0\0WEBPVP8X",
    b"BM",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
]


@fuzzed(200)
@given(st.sampled_from(STARTS), st.binary(max_size=200), HOWS)
def test_random_bytes_raise_nothing_else(start, rest, how):
    outcome(start + rest, how)


@fuzzed(300)
@given(st.sampled_from(sorted(FILES)), st.data(), st.integers(1, 255), HOWS)
def test_a_changed_byte_raises_nothing_else(name, data, change, how):
    content = bytearray(FILES[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= change
    outcome(bytes(content), how)


@fuzzed(200)
@given(damaged([FILES[name] for name in sorted(FILES)]), HOWS)
def test_damaged_files_raise_nothing_else(content, how):
    outcome(content, how)


def test_threads_decode_the_same(file, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(large, 8, 2))
    paths = [tmp_path / "a.png", *(FIXTURES / name for name in FILES if (FIXTURES / name).exists())]
    how = COLOUR._replace(image_size=(20, 20))
    alone = [decode(path, how).pixels for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: decode(path, how).pixels, paths * 20))
    for index, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[index % len(paths)])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_files_are_closed(file):
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for name, data in FILES.items():
        for content in (data, data[: len(data) // 2]):
            try:
                kept.append(decode(file(content), COLOUR))
            except BadImage as error:
                kept.append((name, error))
    assert len(os.listdir("/proc/self/fd")) == before
