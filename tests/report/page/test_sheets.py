import base64
import io

import numpy as np
import pytest
from PIL import Image

from flaxae.report.figures import scaled_down
from flaxae.report.page.sheets import SIDE, encode, plan, tiled

RNG = np.random.default_rng(0)


def decoded(sheet):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet))).convert("RGB")).astype(int)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_found_at_their_places(channels):
    levels = RNG.integers(0, 256, (1100, 1, 1, channels))
    pictures = np.broadcast_to(levels, (1100, 16, 16, channels)).astype(np.uint8)
    sheets = [decoded(sheet) for sheet in encode(pictures)]
    assert len(sheets) == 5
    for place in (0, 17, 255, 256, 1099):
        row, column = divmod(place % SIDE**2, SIDE)
        cell = sheets[place // SIDE**2][row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
        np.testing.assert_allclose(cell[8, 8], np.broadcast_to(levels[place, 0, 0], 3), atol=40)


def test_missing_pictures_are_black():
    grid = tiled(np.full((3, 2, 2, 1), 9, np.uint8), columns=2)
    assert grid.shape == (4, 4, 1)
    assert grid[2:, 2:].max() == 0
    assert grid[2:, :2].min() == 9


def noise(count, side):
    return RNG.integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_pictures_become_smaller_until_they_fit():
    images, drawn = noise(64, 100), noise(64, 100)
    roomy = plan(images, drawn, 64, 64, 10**7)
    assert (roomy.width, roomy.height, roomy.reconstructions) == (64, 64, 64)
    tight = plan(images, drawn, 64, 64, 200_000)
    assert tight.width < 64
    small = (scaled_down(each, tight.height, tight.width) for each in (images, drawn))
    assert sum(len(sheet) for each in small for sheet in encode(each)) <= 200_000


def test_the_first_to_go_are_reconstructions():
    images = noise(64, 16)
    thumbnails = 1000 / 64 * sum(map(len, encode(images)))
    planned = plan(images, images, 1000, 100, int(1.5 * thumbnails))
    assert planned.width == 16
    assert planned.reconstructions == pytest.approx(500, abs=2)


def test_what_a_reconstruction_needs_beside_it_has_room_too():
    """A run with targets has two pictures for each reconstruction."""
    images = noise(64, 16)
    assert plan(images, images, 64, 10, 10**7, copies=2).reconstructions == 64
    thumbnails = 1000 / 64 * sum(map(len, encode(images)))
    planned = plan(images, images, 1000, 100, int(2 * thumbnails), copies=2)
    assert planned.reconstructions == pytest.approx(500, abs=2)


def test_small_images_keep_their_size():
    assert plan(noise(9, 9), noise(9, 9), 9, 9, 10**6)[:2] == (9, 9)
