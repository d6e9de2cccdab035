"""How well scores tell anomalies from normal images, where labels or masks are known."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import label as connected
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

_DETECTED = 0.95  # share of the anomalies at which false alarms are counted
_MOST_FALSE = 0.3  # share of normal pixels at which AUPRO is cut

Maps = Float[np.ndarray, "images height width"]
Masks = Bool[np.ndarray, "images height width"]


class Detection(NamedTuple):
    """How well a score detects, each in 0..1."""

    auroc: float  # area under the curve of detections over false alarms; chance is 0.5
    average_precision: float  # area under precision over recall; chance is the share of anomalies
    false_alarms_at_95: float  # share of normal images above the score of 95 % of the anomalies


def detection(
    scores: Float[np.ndarray, " images"], anomalous: Bool[np.ndarray, " images"]
) -> Detection | None:
    """What scikit-learn says of the scores; None unless there are both kinds of images."""
    if anomalous.all() or not anomalous.any():
        return None
    false, true, _ = roc_curve(anomalous, scores, drop_intermediate=False)
    return Detection(
        float(roc_auc_score(anomalous, scores)),
        float(average_precision_score(anomalous, scores)),
        float(false[true >= _DETECTED].min()),
    )


class Localization(NamedTuple):
    """How well error maps show where the anomalies are, each in 0..1."""

    pixel_auroc: float
    aupro: float  # mean share of each defect that is found, up to 30 % false pixels, / 0.3


def localization(maps: Maps, masks: Masks) -> Localization | None:
    """Compares maps with masks of the defects; None unless pixels of both kinds are there."""
    if masks.all() or not masks.any():
        return None
    return Localization(float(roc_auc_score(masks.ravel(), maps.ravel())), aupro(maps, masks))


def aupro(maps: Maps, masks: Masks, most_false: float = _MOST_FALSE) -> float:
    """The area under the per-region overlap, cut at `most_false` and divided by it.

    A region is a connected part of a mask, diagonals included. For each threshold, the overlap is
    the share of a region's pixels above it, as the mean over all regions; its abscissa is the share
    of the pixels outside of all regions that are above it (Bergmann et al. 2021,
    https://doi.org/10.1007/s11263-020-01400-4). The curve is exact: every value is a threshold.
    """
    weights = np.zeros(masks.shape)  # what a pixel adds to the mean overlap
    regions = 0
    for weight, mask in zip(weights, masks, strict=True):
        numbers: np.ndarray
        numbers, found = connected(mask, structure=np.ones((3, 3)))  # type: ignore[misc] # pyright: ignore
        sizes = np.bincount(numbers.ravel())
        weight[mask] = 1 / sizes[numbers[mask]]
        regions += found
    order = np.argsort(-maps, axis=None, kind="stable")
    values = maps.ravel()[order]
    last = np.append(values[1:] != values[:-1], True)  # equal values are one threshold
    overlap = np.cumsum(weights.ravel()[order])[last] / regions
    outside = ~masks.ravel()[order]
    false = np.cumsum(outside)[last] / outside.sum()
    false, overlap = np.append(0.0, false), np.append(0.0, overlap)
    end = int(np.searchsorted(false, most_false))  # the first point that is not before the cut
    share = (most_false - false[end - 1]) / (false[end] - false[end - 1])
    height = overlap[end - 1] + share * (overlap[end] - overlap[end - 1])
    area = np.trapezoid(np.append(overlap[:end], height), np.append(false[:end], most_false))
    return float(area / most_false)
