"""A threshold from the scores of held-out normal images, and how sure its false alarms are.

No assumption is made on the distribution of the scores, only that new normal images are drawn as
the held-out ones were.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import beta

_CONFIDENCE = 0.95  # of every interval
_ROUNDING = 1e-5  # of scores, relative


class Interval(NamedTuple):
    """A rate, and where it lies with 95 % confidence."""

    rate: float
    low: float
    high: float


class Threshold(NamedTuple):
    """The score above which an image is called an anomaly."""

    value: float | None  # None: there are too few held-out images for the rate
    wanted: float  # the rate of false alarms that was asked for
    images: int  # held-out normal images
    rate: Interval | None  # of false alarms that `images` allow to promise
    needed: int  # held-out images that the rate takes


def threshold(scores: Float[np.ndarray, " images"], false_alarms: float) -> Threshold:
    """The smallest held-out score that new normal images exceed at most at the wanted rate.

    It is the k-th smallest of n scores, k = ceil((n + 1)(1 - rate)). The share of all normal images
    above it has the distribution Beta(n + 1 - k, k) if no two scores are equal, and lies lower if
    some are. Its mean is (n + 1 - k) / (n + 1), at most the wanted rate; the interval is that of
    its 2.5 % and 97.5 % quantiles.

    Example:
        >>> found = threshold(np.arange(400.0), 0.01)
        >>> found.value, round(100 * found.rate.low, 1), round(100 * found.rate.high, 1)
        (396.0, 0.3, 2.2)
    """
    count = len(scores)
    needed = math.ceil(1 / false_alarms - 1 - 1e-9)
    # Rounded, because 401 * 0.99 may be a little more or less than a whole number.
    position = math.ceil(round((count + 1) * (1 - false_alarms), 9))
    if position > count or count == 0:
        return Threshold(None, false_alarms, count, None, needed)
    position = max(position, 1)
    above = count + 1 - position
    tail = (1 - _CONFIDENCE) / 2
    low, high = (float(beta.ppf(share, above, position)) for share in (tail, 1 - tail))
    rate = Interval(above / (count + 1), low, high)
    value = float(np.sort(scores)[position - 1])
    return Threshold(value, false_alarms, count, rate, needed)


def exceeds(scores: Float[np.ndarray, " images"], limit: float) -> Bool[np.ndarray, " images"]:
    """Whether each score lies above the threshold by more than rounding.

    The image that has set the threshold lies at it. In a batch of another size, its score can have
    another last digit.
    """
    return scores > limit + _ROUNDING * abs(limit)


def observed_rate(hits: int, count: int) -> Interval:
    """The share of hits, with its exact interval (Clopper and Pearson 1934).

    Example:
        >>> [round(number, 3) for number in observed_rate(0, 10)]
        [0.0, 0.0, 0.308]
    """
    tail = (1 - _CONFIDENCE) / 2
    low = float(beta.ppf(tail, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, count - hits)) if hits < count else 1.0
    return Interval(hits / count, low, high)
