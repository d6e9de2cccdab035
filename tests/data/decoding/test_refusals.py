"""Files that are refused before they are decoded."""

import os
import zlib

import pytest
from PIL import Image

from flaxae.data.decoding import BadImage, decode, probe
from tests.data.decoding.expected import COLOUR, RGB, same
from tests.fixtures.image_bytes import PNG_START, chunk, header, png, tiff


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
