import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.common.intervals import ratio_of_medians, summarize

Times = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20)


def test_quartiles_of_known_values():
    assert summarize([5, 1, 3, 2, 4]) == (3, 2, 4, 5)
    assert summarize([1, 2]) == (1.5, 1.25, 1.75, 2)


def test_equal_samples_give_an_interval_of_one_point():
    assert ratio_of_medians([3.0] * 5, [2.0] * 5) == (1.5, 1.5, 1.5, 0.95)


def test_the_bootstrap_of_two_rounds_is_known():
    # Of two rounds drawn twice: both the first (1/4), both the second (1/4), or one of each (1/2),
    # with ratios 2, 4 and (2 + 8) / (1 + 2). 95 % reach from the smallest to the largest.
    interval = ratio_of_medians([2.0, 8.0], [1.0, 2.0], seed=1)
    assert interval == pytest.approx((10 / 3, 2, 4, 0.95))


def test_the_interval_covers_the_true_ratio_at_its_confidence():
    generator = np.random.default_rng(0)
    truth, hits = 1.2, 0
    for _ in range(200):
        below = generator.lognormal(0, 0.1, 30)
        above = truth * generator.lognormal(0, 0.1, 30)
        interval = ratio_of_medians(list(above), list(below), resamples=400)
        hits += interval.low <= truth <= interval.high
    assert 0.90 <= hits / 200 <= 1  # 95 % give or take what 200 experiments can tell


def test_a_slow_round_does_not_widen_the_interval():
    generator = np.random.default_rng(0)
    weather = generator.lognormal(0, 1, 30)
    interval = ratio_of_medians(list(1.1 * weather), list(weather))
    assert interval == pytest.approx((1.1, 1.1, 1.1, 0.95))


@given(times=Times, factor=st.floats(0.1, 10), seed=st.integers(0, 2**31))
def test_the_unit_of_time_does_not_matter(times: list[float], factor: float, seed: int):
    others = times[::-1]
    plain = ratio_of_medians(times, others, resamples=50, seed=seed)
    scaled = ratio_of_medians(
        [factor * t for t in times], [factor * t for t in others], resamples=50, seed=seed
    )
    assert scaled == pytest.approx(plain)
    assert plain.low <= plain.high


def test_the_same_seed_gives_the_same_interval():
    generator = np.random.default_rng(0)
    times, others = list(generator.uniform(1, 2, 30)), list(generator.uniform(1, 2, 30))
    assert ratio_of_medians(times, others) == ratio_of_medians(times, others)
    assert ratio_of_medians(times, others) != ratio_of_medians(times, others, seed=1)


@pytest.mark.parametrize(("above", "below"), [([], []), ([1.0], [1.0, 2.0])])
def test_samples_come_in_pairs(above: list[float], below: list[float]):
    with pytest.raises(ValueError, match="pairs"):
        ratio_of_medians(above, below)


def test_no_samples_have_no_median():
    with pytest.raises(ValueError, match="no samples"):
        summarize([])
