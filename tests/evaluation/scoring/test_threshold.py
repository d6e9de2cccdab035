"""The threshold's promise holds: by its definition, by simulation, and in the issue's example."""

import numpy as np
import pytest
from scipy.stats import binom

from flaxae.evaluation.scoring.threshold import exceeds, observed_rate, threshold

RNG = np.random.default_rng(0)


def test_one_percent_of_400_images_lies_between_0_3_and_2_2_percent():
    found = threshold(RNG.permutation(np.arange(400.0)), 0.01)
    assert found.value == 396.0  # three of 400 lie above, and a new one at most with 4 / 401
    assert found.rate is not None
    assert found.rate.rate == pytest.approx(4 / 401)
    assert f"{100 * found.rate.low:.1f} {100 * found.rate.high:.1f}" == "0.3 2.2"
    assert found.images == 400


def test_the_interval_is_of_order_statistics():
    """P(share above < x) is the probability that fewer than `above` of n uniforms exceed 1 - x."""
    found = threshold(RNG.normal(size=250), 0.05)
    assert found.rate is not None
    above = 250 - int(np.sum(np.arange(251) / 251 < 0.95)) + 1
    for quantile, tail in ((found.rate.low, 0.025), (found.rate.high, 0.975)):
        assert binom.sf(above - 1, 250, quantile) == pytest.approx(tail, abs=1e-6)


def test_the_rate_is_kept_on_average_and_the_interval_covers():
    rates, inside = [], []
    for _ in range(2000):
        found = threshold(RNG.random(120), 0.05)
        assert found.value is not None
        assert found.rate is not None
        rates.append(1 - found.value)
        inside.append(found.rate.low <= 1 - found.value <= found.rate.high)
    assert np.mean(rates) == pytest.approx(6 / 121, abs=0.002)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("rate", "needed"), [(0.01, 99), (0.05, 19), (0.5, 1), (0.003, 333)])
def test_how_many_images_a_rate_takes(rate, needed):
    enough, few = (
        threshold(np.arange(float(needed)), rate),
        threshold(np.arange(needed - 1.0), rate),
    )
    assert enough.value == needed - 1
    assert (few.value, few.rate, few.needed) == (None, None, needed)


def test_the_image_that_sets_the_threshold_is_no_anomaly_in_any_rounding():
    for limit in (1e-7, 3.0, -2.0):
        noise = limit + np.array([-1e-6, 0, 1e-6, 1e-3]) * abs(limit)
        assert exceeds(noise, limit).tolist() == [False, False, False, True]


@pytest.mark.parametrize(("hits", "count"), [(0, 40), (3, 40), (40, 40), (1, 1)])
def test_the_observed_rate_has_the_exact_interval(hits, count):
    found = observed_rate(hits, count)
    assert found.rate == hits / count
    if hits:
        assert binom.sf(hits - 1, count, found.low) == pytest.approx(0.025)
    else:
        assert found.low == 0
    if hits < count:
        assert binom.cdf(hits, count, found.high) == pytest.approx(0.025)
    else:
        assert found.high == 1
