import pytest

from benchmarks.scaling.growth import (
    FULL,
    MEMORY,
    QUANTITIES,
    SMOKE,
    TIMES,
    Point,
    Row,
    Slope,
    fit_slope,
    slopes_of,
)

_STEP = next(quantity for quantity in QUANTITIES if quantity.key == "step_seconds")


@pytest.mark.parametrize("power", [-1, 0, 0.5, 1, 2])
def test_the_slope_of_a_power_is_its_exponent(power: float):
    points = [(x, 3.7 * x**power) for x in (5, 28, 64, 4096)]
    assert fit_slope(points) == pytest.approx(power)


def test_a_slope_is_of_the_largest_points_by_least_squares():
    # A constant share flattens the slope at small sizes.
    assert fit_slope([(1, 900), (10, 900), (100, 1e4), (1000, 1e5), (10000, 1e6)]) == pytest.approx(
        1
    )
    assert fit_slope([(1, 1), (10, 100), (100, 100)]) == pytest.approx(1)


def test_fewer_than_two_points_have_no_slope():
    assert fit_slope([(5, 5)]) is None
    assert fit_slope([]) is None
    rows = [_row(point, step_seconds=None) for point in FULL.points("side")]
    assert Slope("side", "step_seconds", None, 2) in slopes_of({"side": rows})


def test_every_sweep_has_expected_slopes_of_time_and_memory():
    for sweep in FULL.values:
        for quantities in (TIMES, MEMORY):
            assert any(quantity.expected.get(sweep) is not None for quantity in quantities)
    assert all(set(quantity.expected) <= set(Point._fields) for quantity in QUANTITIES)
    assert len({quantity.key for quantity in QUANTITIES}) == len(QUANTITIES)


@pytest.mark.parametrize(("micro_batch", "batch", "side"), [(32, 0, None), (None, 1, 2)])
def test_micro_batches_bound_the_memory_of_a_step(
    micro_batch: int | None, batch: int, side: int | None
):
    rows = [_row(point)._replace(micro_batch=micro_batch) for point in FULL.points("batch")]
    slopes = slopes_of({"batch": rows, "side": rows})
    found = {slope.sweep: slope.expected for slope in slopes if slope.quantity == "step_bytes"}
    assert found == {"batch": batch, "side": side}


def test_a_sweep_varies_one_quantity_through_the_default():
    for plan in (FULL, SMOKE):
        for sweep in plan.values:
            found = plan.points(sweep)
            assert plan.default in found
            assert [getattr(point, sweep) for point in found] == sorted(plan.values[sweep])
            others = {point._replace(**{sweep: 0}) for point in found}
            assert len(others) == 1
    assert FULL.values["images"][-1] == 10**6


def _row(point: Point, **values: float | None) -> Row:
    return Row(point, point.images // point.batch, 32, values, {})
