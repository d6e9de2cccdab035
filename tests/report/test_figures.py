import numpy as np
import pytest
from PIL import Image

from flaxae.report.figures import reconstruction_grid, save_animation, save_png, to_picture

LEFT_OF = {"input": 0, "reconstruction": 1}


def rows_of(shape, count=4):
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (count, *shape), np.uint8) for name in LEFT_OF}


@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (7, 20, 1), (100, 90, 3), (5, 5, 2)])
def test_every_image_is_shown_whole_and_in_its_place(shape):
    rows = rows_of(shape)
    picture = np.asarray(reconstruction_grid(rows, "epoch 1"))
    height, width, _ = shape
    scale = max(1, -(-64 // height))
    left = picture.shape[1] - 4 * (width * scale + 4)
    for row, images in enumerate(rows.values()):
        for column, image in enumerate(images):
            y, x = 22 + row * (height * scale + 4), left + column * (width * scale + 4)
            cell = picture[y : y + height * scale : scale, x : x + width * scale : scale]
            np.testing.assert_array_equal(cell, np.asarray(to_picture(image)))


def test_strange_numbers_of_channels_become_gray():
    image = np.dstack([np.full((2, 2), 10, np.uint8), np.full((2, 2), 21, np.uint8)])
    assert np.asarray(to_picture(image)).tolist() == [[[16] * 3] * 2] * 2


def test_a_long_title_is_not_cut():
    short = reconstruction_grid(rows_of((8, 8, 1), 1), "")
    long = reconstruction_grid(rows_of((8, 8, 1), 1), "a title far longer than one picture")
    assert long.width > short.width


def test_animation_shows_every_epoch_in_order(tmp_path):
    for epoch, width in ((1, 30), (10, 31), (2, 30)):  # a title of one more digit is wider
        color = (epoch * 20, 0, 0)
        save_png(Image.new("RGB", (width, 9), color), tmp_path / f"epoch_{epoch:04d}.png")
    save_animation(tmp_path)
    with Image.open(tmp_path / "animation.webp") as animation:
        assert animation.n_frames == 3
        assert animation.info["loop"] == 0
        reds = []
        for frame in range(3):
            animation.seek(frame)
            reds.append(animation.convert("RGB").getpixel((0, 0))[0])
    assert reds == [20, 40, 200]
