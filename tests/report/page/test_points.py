import numpy as np

from flaxae.report.page.points import TILES, coordinates, extremes, tile_grid


def test_both_axes_have_one_scale_and_the_second_points_down():
    plane = np.array([[0, 0], [4, 0], [0, 2]], np.float32)
    places = coordinates(plane).astype(int)
    assert places[0, 0] == 0
    assert places[1, 0] == 65535
    assert places[0, 1] > places[2, 1]  # upward is less
    assert abs((places[0, 1] - places[2, 1]) * 2 - 65535) <= 2


def test_equal_points_have_a_place():
    assert coordinates(np.ones((3, 2), np.float32)).shape == (3, 2)


def test_a_tile_lies_where_the_points_of_its_numbers_do():
    plane = np.array([[-1, -2], [3, 2], [0.5, 1]], np.float32)
    grid, place = tile_grid(plane)
    for point, (x, y) in zip(plane, coordinates(plane).astype(float), strict=True):
        column = round((x - place["left"]) / place["step"])
        row = round((y - place["top"]) / place["step"])
        nearest = np.abs(grid - point).sum(axis=1).argmin()
        assert row * TILES + column == nearest


def test_extremes():
    worst, best = extremes(np.arange(100, dtype=np.float32))
    assert worst == list(range(99, 67, -1))
    assert best == list(range(32))
