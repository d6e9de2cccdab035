"""Detection beside scikit-learn's curves, and AUPRO beside a case worked by hand."""

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score, roc_curve

from flaxae.evaluation.scoring.detection import aupro, detection, localization

RNG = np.random.default_rng(0)


def test_the_figures_are_scikit_learns():
    anomalous = RNG.random(300) < 0.3
    scores = np.round(RNG.normal(size=300) + anomalous, 1)  # with ties
    found = detection(scores, anomalous)
    assert found is not None
    assert found.auroc == pytest.approx(roc_auc_score(anomalous, scores))
    assert found.average_precision == pytest.approx(average_precision_score(anomalous, scores))
    detected = np.array([np.mean(scores[anomalous] >= t) for t in np.unique(scores)])
    false = np.array([np.mean(scores[~anomalous] >= t) for t in np.unique(scores)])
    assert found.false_alarms_at_95 == pytest.approx(false[detected >= 0.95].min())


@pytest.mark.parametrize("value", [True, False])
def test_one_kind_of_image_tells_nothing(value):
    assert detection(np.arange(4.0), np.full(4, value)) is None
    assert localization(np.ones((1, 2, 2)), np.full((1, 2, 2), value)) is None


def test_aupro_of_a_case_worked_by_hand():
    """Two regions, of 2 and of 1 pixel, and twelve pixels outside; the cut is at three of them.

    In falling order of the map: half of the first region (overlap 1/4), one outside pixel, the
    second region (3/4), two outside pixels at once, the rest. Up to the cut the curve has the
    points (0, 1/4), (1/12, 1/4), (1/12, 3/4), (3/12, 3/4), and the area 1/12 / 4 + 2/12 * 3/4.
    Divided by 3/12, that is 1/12 + 1/2.
    """
    maps = np.array([[[9, 4, 8, 0, 0], [0, 0, 0, 5, 5], [0, 0, 0, 0, 7]]], float)
    masks = np.array([[[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]], bool)
    assert aupro(maps, masks, 3 / 12) == pytest.approx(7 / 12)


def test_aupro_interpolates_at_the_cut():
    """One region is found whole with the last of four outside pixels, in one step."""
    maps = np.array([[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    masks = np.zeros((1, 2, 3), bool)
    masks[0, 0, 0] = True
    assert aupro(maps, masks) == pytest.approx(0.15)  # the diagonal up to 0.3: its mean height


def test_every_region_counts_the_same():
    masks = np.zeros((2, 6, 6), bool)
    masks[0, :3, :3], masks[1, 5, 5] = True, True
    large = np.where(masks & (np.arange(2) == 0)[:, None, None], 2.0, 0.0)
    # Only the large region is found before any other pixel; the rest comes at once.
    assert aupro(large, masks, 0.3) == pytest.approx(0.5 + 0.3 / 4)


def test_diagonal_pixels_are_one_region():
    masks = np.zeros((2, 4, 4), bool)
    masks[0], masks[1, 3, 3] = np.eye(4, dtype=bool), True
    half = np.zeros((2, 4, 4))
    half[0, 0, 0] = half[0, 1, 1] = 1  # of the first of two regions; of five pixels it were 0.4
    assert aupro(half, masks, 1.0) == pytest.approx((0.25 + 1) / 2)


def test_with_regions_of_one_pixel_aupro_is_the_partial_area_of_the_curve():
    masks = np.zeros((5, 8, 8), bool)
    masks[:, 1::4, 1::4] = True
    maps = np.round(RNG.random((5, 8, 8)) + 0.4 * masks, 2)
    false, true, _ = roc_curve(masks.ravel(), maps.ravel(), drop_intermediate=False)
    grid = np.append(false[false < 0.3], 0.3)
    expected = auc(grid, np.append(true[false < 0.3], np.interp(0.3, false, true))) / 0.3
    assert aupro(maps, masks) == pytest.approx(expected)
    found = localization(maps, masks)
    assert found is not None
    assert found.pixel_auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    assert found.aupro == pytest.approx(expected)
