import pytest

from flaxae.report.page.chart import chart


def test_lines_run_from_left_to_right_and_large_is_above():
    drawn = chart("loss", {"a": [(1.0, 4.0), (2.0, 2.0), (3.0, 1.0)]})
    points = [tuple(map(float, p.split(","))) for p in drawn.lines[0].points.split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert all(drawn.left <= x <= drawn.right for x, _ in points)
    assert all(drawn.top <= y <= drawn.bottom for _, y in points)
    assert "a from 4 in epoch 1 to 1 in epoch 3, lowest 1 in epoch 3" in drawn.summary


@pytest.mark.parametrize(
    "values", [[1.0], [3.0, 3.0], [0.0, 0.0], [1e-9, 5.0], [-1.0, 2.0], [1e300, 2e300]]
)
def test_any_values_can_be_drawn(values):
    drawn = chart("x", {"a": [(float(n), v) for n, v in enumerate(values)]})
    assert all(drawn.top - 1 <= tick.at <= drawn.bottom + 1 for tick in drawn.y_ticks)
    assert 1 <= len(drawn.y_ticks) <= 12 or drawn.is_log


def test_a_wide_range_is_logarithmic():
    drawn = chart("x", {"a": [(1.0, 0.001), (2.0, 1.0)]})
    assert drawn.is_log
    assert [tick.text for tick in drawn.y_ticks] == ["0.001", "0.01", "0.1", "1"]


def test_a_single_epoch_is_a_line_that_can_be_seen():
    drawn = chart("loss", {"a": [(1.0, 0.5)]})
    (left, y), (right, other) = (point.split(",") for point in drawn.lines[0].points.split())
    assert float(right) - float(left) >= 10
    assert y == other


def test_nothing_finite_is_no_chart():
    assert chart("x", {"a": [(1.0, float("nan"))], "b": []}) is None
