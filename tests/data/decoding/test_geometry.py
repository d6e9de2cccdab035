"""Files are turned upright and fitted to the size that is asked."""

import struct

import numpy as np
import pytest

from flaxae.data.decoding import decode
from tests.data.decoding.expected import COLOUR, FIXTURES, GRAY, RGB, same, upright
from tests.fixtures.image_bytes import chunk, exif, jpeg_with, png


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


def test_hidden_colours_do_not_show_after_a_resize(file):
    samples = np.zeros((8, 8, 4), np.uint8)
    samples[:, ::2] = 255, 0, 0, 0  # red, and not to be seen
    samples[:, 1::2] = 0, 0, 200, 255
    how = COLOUR._replace(image_size=(2, 2), background=(0, 100, 0))
    pixels = decode(file(png(samples, 8, 6)), how).pixels
    assert pixels[..., 0].max() == 0
    np.testing.assert_allclose(pixels[..., 2], 100, atol=15)


def test_deep_files_are_scaled_before_they_are_resized(file):
    deep = np.full((8, 8), 3000, np.uint16)
    how = GRAY._replace(value_range=(2000.0, 4000.0), image_size=(2, 2))
    np.testing.assert_array_equal(decode(file(deep), how).pixels, np.full((2, 2, 1), 128))
