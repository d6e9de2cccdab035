import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxae.data.images import to_bytes
from flaxae.data.sources.array_pixels import pixels_of
from flaxae.errors import InputError
from tests.fixtures.array_files import IMAGES, refusal


def pixels(values, value_range=None, kind=None):
    chunk = np.array(values, kind).reshape(1, 1, -1, 1)
    return pixels_of(chunk, value_range, "images").ravel().tolist()


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("u1", [0, 7, 255], [0, 7, 255]),
        ("?", [False, True], [0, 255]),
        ("u2", [0, 255, 256, 65535], [0, 0, 1, 255]),
        ("i8", [0, 7, 255], [0, 7, 255]),
        ("u4", [0, 255], [0, 255]),
        ("f4", [0, 0.5, 0.501, 1], [0, 128, 128, 255]),
        ("f2", [0, 1], [0, 255]),
        ("f8", [-0.0, 1 / 255, 1], [0, 1, 255]),
    ],
)
def test_numbers_become_bytes(kind, values, expected):
    assert pixels(values, kind=kind) == expected


@pytest.mark.parametrize(
    ("kind", "value_range", "values", "expected"),
    [
        ("u1", (0.0, 16.0), [0, 8, 16, 17], [0, 8, 16, 17]),  # it is for more than 8 bits
        ("i8", (0.0, 16.0), [0, 8, 16, 17], [0, 128, 255, 255]),
        ("u2", (0.0, 4095.0), [0, 4095, 65535], [0, 255, 255]),
        ("i2", (-1000.0, 1000.0), [-2000, -1000, 0, 1000], [0, 0, 128, 255]),
        ("f4", (-1.0, 1.0), [-1, 0, 1, 2], [0, 128, 255, 255]),
        ("?", (0.0, 1.0), [False, True], [0, 255]),
        ("f8", (0.0, 1e308), [0, 1e308], [0, 255]),
    ],
)
def test_a_range_is_mapped_and_clipped(kind, value_range, values, expected):
    assert pixels(values, value_range, kind) == expected


@pytest.mark.parametrize(
    ("kind", "values", "came"),
    [
        ("i8", [0, 256], "images is int64 in 0..256; expected 0..255, or train with --range"),
        ("i1", [-1, 7], "images is int8 in -1..7; expected 0..255"),
        ("f4", [0, 16], "images is float32 in 0.0..16.0; expected 0..1, or"),
        ("f8", [-0.5, 1], "images is float64 in -0.5..1.0; expected 0..1"),
        ("f8", [0, np.nan], "images is float64 in nan..nan; expected 0..1"),
        ("c8", [0], "images is complex64; expected numbers"),
        ("O", [0], "images holds Python objects"),
    ],
)
def test_numbers_out_of_range_are_refused(kind, values, came):
    assert came in refusal(pixels, values, None, kind)


def test_a_range_needs_numbers_and_an_extent():
    for value in (np.nan, np.inf):
        assert "with NaN or infinity" in refusal(pixels, [0, value], (0.0, 1.0))
    for value_range in ((1.0, 1.0), (1.0, 0.0), (0.0, np.inf), (np.nan, 1.0), (-1e308, 1e308)):
        assert "--range got" in refusal(pixels, [0.0], value_range)


def test_gray_images_get_a_channel():
    assert pixels_of(IMAGES, None, "images").shape == (7, 4, 5, 1)
    assert pixels_of(IMAGES[:0], None, "images").shape == (0, 4, 5, 1)
    with pytest.raises(InputError, match=r"chunk has the shape \[2, 3, 8, 8\]"):
        pixels_of(np.zeros((2, 3, 8, 8)), None, "chunk")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1))
def test_floats_are_rounded_as_those_from_python(values):
    chunk = np.array(values).reshape(1, 1, -1, 1)
    np.testing.assert_array_equal(pixels_of(chunk, None, "x"), to_bytes(chunk, "x"))


def test_damaged_truth_values_are_true():
    chunk = np.array([[[0, 1, 7]] * 2] * 2, np.uint8).view(bool)
    assert set(pixels_of(chunk[:, :, 1:], None, "x").ravel().tolist()) == {255}
