"""Which mask belongs to which image, and what its pixels say."""

import numpy as np
import pytest
from PIL import Image

from flaxae.data import DataConfig
from flaxae.data.sources.masks import read_masks
from flaxae.errors import InputError
from tests.fixtures.image_bytes import png

SHAPE = (4, 6, 1)


def save(folder, name, pixels, kind=np.uint8):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, kind)).save(path)


def spot(row, value=255, size=1):
    pixels = np.zeros((4 * size, 6 * size), np.uint8)
    pixels[: 2 * size, row * size : (row + 1) * size] = value
    return pixels


def columns(folder, *files):
    found = read_masks(str(folder), files, DataConfig(), SHAPE)
    return [np.flatnonzero(mask.any(axis=0)).tolist() for mask in found]


def test_masks_are_found_by_name_and_images_without_one_have_no_defect(tmp_path):
    save(tmp_path, "a.png", spot(1))
    save(tmp_path, "sub/c_mask.bmp", spot(2))
    assert columns(tmp_path, "a.jpg", "b.png", "other/c.tif") == [[1], [], [2]]


def test_equal_names_are_told_apart_by_their_folders(tmp_path):
    save(tmp_path, "crack/000_mask.png", spot(1))
    save(tmp_path, "hole/000_mask.png", spot(2))
    names = ("hole/000.png", "crack/000.png", "good/000.png")
    assert columns(tmp_path, *names) == [[2], [1], []]


@pytest.mark.parametrize("value", [1, 255])
def test_half_of_the_largest_value_is_a_defect_in_any_size(tmp_path, value):
    save(tmp_path, "a.png", spot(3, value, size=5))
    assert columns(tmp_path, "a.png") == [[3]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("value", [0, 1, 255, 4000, 65535])
def test_a_mask_of_16_bits_is_as_one_of_8(tmp_path, value, suffix):
    save(tmp_path, f"a.{suffix}", spot(3, 1, size=5).astype(int) * value, np.uint16)
    assert columns(tmp_path, "a.jpg") == [[3] if value else []]


def test_a_mask_in_16_bit_color_is_refused_if_its_defects_would_be_lost(tmp_path):
    color = spot(2)[..., None].astype(int).repeat(3, -1)
    (tmp_path / "a.png").write_bytes(png(color * 257, 16, 2))
    assert columns(tmp_path, "a.jpg") == [[2]]
    (tmp_path / "a.png").write_bytes(png(color, 16, 2))
    with pytest.raises(InputError, match=r"a\.png has 16-bit color or alpha, nowhere .* in gray"):
        columns(tmp_path, "a.jpg")


@pytest.mark.parametrize(
    ("masks", "files", "message"),
    [
        (["z.png"], ["a.png"], r"1 mask of .* without an image \(z.png\)"),
        (["a.png", "a_mask.png"], ["a.png"], "differ only in their suffix"),
        (["a.png"], ["a.png", "a.jpg"], "differ only in their suffix"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tmp_path, masks, files, message):
    for name in masks:
        save(tmp_path, name, spot(1))
    with pytest.raises(InputError, match=message):
        columns(tmp_path, *files)


def test_a_mask_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"the mask .*a\.png cannot be read"):
        columns(tmp_path, "a.png")
