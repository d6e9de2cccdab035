"""Colors on one scale, and what a picture of odd images holds."""

import numpy as np
import pytest

from flaxae.report.score_pictures import Oddity, colors, oddity_grid, oddity_picture, panels

RNG = np.random.default_rng(0)


def oddity(height, width, channels, text="1.  0.5  a.png", anomaly=True):
    image, other = RNG.integers(0, 256, (2, height, width, channels), np.uint8)
    return Oddity(image, other, RNG.random((height, width), np.float32), text, anomaly)


def test_colors_depend_on_the_error_and_the_scale_only():
    error = np.array([[0, 0.1, 0.2, 0.9]], np.float32)
    found = colors(error, 0.2)
    np.testing.assert_array_equal(found[0, 2], found[0, 3])  # beyond the scale: the brightest
    np.testing.assert_array_equal(found[:, 1:2], colors(error[:, 1:2], 0.2))
    brightness = found.astype(int).sum(axis=2)[0]
    assert brightness[0] < brightness[1] < brightness[2]


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 12, 3), (1, 1, 1), (200, 300, 3)])
def test_the_panels_are_image_reconstruction_and_map(shape):
    odd = oddity(*shape)
    height, width, _ = shape
    pixels = np.asarray(panels(odd, 0.5))
    factor = pixels.shape[0] // height
    assert factor >= 1
    step = width * factor + 4
    for place, expected in enumerate((odd.image, odd.reconstruction, colors(odd.error, 0.5))):
        part = pixels[:: factor or 1, place * step : place * step + width * factor : factor]
        np.testing.assert_array_equal(part, np.broadcast_to(expected, (height, width, 3)))


@pytest.mark.parametrize("count", [1, 4, 5, 32])
def test_a_grid_has_room_for_all_and_long_names_are_cut(count):
    odds = [oddity(8, 8, 1, f"{row}.  1  {'long name ' * 30}") for row in range(count)]
    picture = oddity_grid(odds, 0.5, "title")
    assert picture.width >= oddity_picture(odds[0], 0.5).width
    rows = -(-count // 4)
    assert picture.height > rows * panels(odds[0], 0.5).height
    reds = (np.asarray(picture) == (200, 30, 30)).all(axis=2)
    assert reds.any()  # the text of an anomaly
