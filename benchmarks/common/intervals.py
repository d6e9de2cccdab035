"""What samples of times say: medians, quartiles, and how sure a ratio of medians is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Summary(NamedTuple):
    """Middle and spread of samples, in their unit."""

    median: float
    lower_quartile: float
    upper_quartile: float
    samples: int


class Interval(NamedTuple):
    """A figure and the interval that holds it with probability `confidence`."""

    value: float
    low: float
    high: float
    confidence: float


def summarize(samples: Sequence[float]) -> Summary:
    """Median and quartiles, interpolated linearly between samples.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("got no samples; a median needs one")
    lower, median, upper = (float(q) for q in np.percentile(samples, (25, 50, 75)))
    return Summary(median, lower, upper, len(samples))


def ratio_of_medians(
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Interval:
    """median(numerator) / median(denominator) with its percentile bootstrap interval.

    Sample i of both comes from the same round of an interleaved timing, so rounds are drawn, not
    samples: a machine that was slow for a while was slow for both. It knows nothing of what
    would change from one process to the next. Efron 1979, https://doi.org/10.1214/aos/1176344552.

    Raises:
        ValueError: the samples do not come in pairs, or there are none.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(f"got {len(numerator)} and {len(denominator)} samples; give pairs")
    rounds = np.random.default_rng(seed).integers(len(numerator), size=(resamples, len(numerator)))
    above, below = np.asarray(numerator), np.asarray(denominator)
    ratios = np.median(above[rounds], axis=1) / np.median(below[rounds], axis=1)
    tail = 50 * (1 - confidence)
    low, high = (float(q) for q in np.percentile(ratios, (tail, 100 - tail)))
    return Interval(float(np.median(above) / np.median(below)), low, high, confidence)
