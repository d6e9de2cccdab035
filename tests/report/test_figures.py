import io

import numpy as np
import pytest
from PIL import Image

from flaxae.report.figures import animation, enlargement, png, reconstruction_grid, to_picture

LEFT_OF = {"input": 0, "reconstruction": 1}


def rows_of(shape, count=4):
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (count, *shape), np.uint8) for name in LEFT_OF}


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (7, 20, 1), (100, 90, 3), (5, 5, 2)])
def test_every_image_is_shown_whole_and_in_its_place(shape):
    rows = rows_of(shape)
    picture = np.asarray(reconstruction_grid(rows, "epoch 1"))
    height, width, _ = shape
    scale = max(1, -(-64 // max(height, width)))
    left = picture.shape[1] - 4 * (width * scale + 4)
    for row, images in enumerate(rows.values()):
        for column, image in enumerate(images):
            y, x = 22 + row * (height * scale + 4), left + column * (width * scale + 4)
            cell = picture[y : y + height * scale : scale, x : x + width * scale : scale]
            np.testing.assert_array_equal(cell, np.asarray(to_picture(image)))


def test_a_wide_image_is_not_enlarged():
    """Its height alone would ask for a picture of half a million columns."""
    assert enlargement(1, 784) == 1
    assert reconstruction_grid(rows_of((1, 784, 1), 10), "epoch 1").width < 8_000


def test_two_channels_become_gray():
    image = np.dstack([np.full((2, 2), 10, np.uint8), np.full((2, 2), 21, np.uint8)])
    assert np.asarray(to_picture(image)).tolist() == [[[16] * 3] * 2] * 2


def test_a_long_title_is_not_cut():
    short = reconstruction_grid(rows_of((8, 8, 1), 1), "")
    long = reconstruction_grid(rows_of((8, 8, 1), 1), "a title far longer than one picture")
    assert long.width > short.width


def test_a_png_has_the_pixels_of_the_picture():
    picture = reconstruction_grid(rows_of((8, 8, 3)), "epoch 1")
    with Image.open(io.BytesIO(png(picture))) as read:
        assert read.format == "PNG"
        np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))


def test_animation_shows_every_frame_in_order():
    """Frames may differ in width, because a title of one more digit is wider."""
    frames = [
        Image.new("RGB", (width, 9), (20 * epoch, 0, 0))
        for epoch, width in ((1, 30), (2, 30), (10, 31))
    ]
    with Image.open(io.BytesIO(animation(frames))) as read:
        assert read.format == "WEBP"
        assert read.n_frames == 3
        assert read.info["loop"] == 0
        assert read.size == (31, 9)
        reds = []
        for frame in range(3):
            read.seek(frame)
            reds.append(read.convert("RGB").getpixel((0, 0))[0])
    assert reds == [20, 40, 200]


def test_an_animation_of_pictures_that_are_too_wide_for_webp_is_smaller():
    frames = [Image.new("RGB", (32_000, 40), color) for color in ("red", "blue")]
    with Image.open(io.BytesIO(animation(frames))) as read:
        assert (read.size, read.n_frames) == ((16_383, 20), 2)
