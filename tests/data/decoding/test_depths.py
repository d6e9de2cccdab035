"""Files of more than 8 bits, and ranges of values."""

import struct

import numpy as np
import pytest

from flaxae.data.decoding import BadImage, decode
from tests.data.decoding.expected import COLOUR, FIXTURES, GRAY, LIGHT, RGB, over, same
from tests.fixtures.image_bytes import chunk, png, tiff


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
