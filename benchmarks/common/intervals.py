"""Statistics of timing samples: medians, quartiles, and an interval for a ratio of medians."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95


class Summary(NamedTuple):
    """The middle and the spread of samples, in their unit."""

    median: float
    lower_quartile: float
    upper_quartile: float
    samples: int


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float
    confidence: float


def summarize(samples: Sequence[float]) -> Summary:
    """Median and quartiles, interpolated linearly between samples; ValueError if there are none."""
    if not samples:
        raise ValueError("got no samples; a median needs one")
    lower, median, upper = (float(q) for q in np.percentile(samples, (25, 50, 75)))
    return Summary(median, lower, upper, len(samples))


def ratio_of_medians(
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    resamples: int = 5000,
    seed: int = 0,
) -> Interval:
    """median(numerator) / median(denominator) with its percentile bootstrap interval.

    Sample i of both comes from the same round of an interleaved timing. The bootstrap draws rounds,
    because a busy machine slows both samples of a round. The interval does not cover differences
    between processes. Efron 1979, https://doi.org/10.1214/aos/1176344552.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(f"got {len(numerator)} and {len(denominator)} samples; give pairs")
    rounds = (np.asarray(numerator), np.asarray(denominator))
    value = float(_ratio(*rounds, axis=0))
    if len(numerator) == 1:  # which SciPy refuses: every resample is the one round
        return Interval(value, value, value, _CONFIDENCE)
    options: dict[str, Any] = {"paired": True, "vectorized": True, "method": "percentile"}
    options |= {"n_resamples": resamples, "confidence_level": _CONFIDENCE}
    # The name that all supported versions of SciPy accept; newer ones call it `rng`.
    options |= {"random_state": np.random.default_rng(seed)}
    low, high = stats.bootstrap(rounds, _ratio, **options).confidence_interval
    return Interval(value, float(low), float(high), _CONFIDENCE)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, axis: int) -> np.ndarray:
    return np.median(numerator, axis=axis) / np.median(denominator, axis=axis)
