"""`AnomalyDetector` keeps the conventions of scikit-learn, and finds what is odd."""

import pickle

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import flaxae
from flaxae.api import detector as module
from flaxae.api.detector import AnomalyDetector, Trained
from flaxae.errors import InputError
from flaxae.evaluation.scoring.measuring import measure
from flaxae.runs.reference import Kept
from tests.fixtures.images import synthetic_split

SMALL = {"hidden_units": (6,), "latent_dim": 3}
# scikit-learn's checks that cannot hold, and why.
CANNOT_HOLD = {
    "check_methods_subset_invariance": (
        "scores are float32, and in batches of another size their last digits differ by more than "
        "the 1e-7 that it allows"
    )
}


def untrained(config, splits, percent):
    """In place of a training, which takes seconds: random weights."""
    shape = splits["train"].image_shape
    model = config.model.build(config.compute, shape)
    rng = np.random.default_rng(config.seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *shape), np.float32))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("f4"), shapes["params"])
    detector = AnomalyDetector()
    detector.config_, detector.shape_ = config, shape
    detector.trained_ = Trained(params, None)
    found = [
        measure(detector._make_state(), splits[name].images, config.optimizer.batch_size, percent)
        for name in ("train", "validation")
    ]
    return Trained(params, Kept(found[0].vectors, found[1], 0.5))


@pytest.mark.filterwarnings("ignore:.* false alarms take .* held-out images")
@parametrize_with_checks(
    [AnomalyDetector(flags=SMALL, pixel_range="fit", false_alarms=0.3, random_state=0)],
    expected_failed_checks=lambda estimator: CANNOT_HOLD,
)
def test_the_checks_of_scikit_learn(estimator, check, monkeypatch):
    monkeypatch.setattr(module, "trained", untrained)
    check(estimator)


@pytest.fixture(scope="module")
def images():
    return synthetic_split(90, seed=1).images


@pytest.fixture(scope="module")
def fitted(images):
    flags = {**SMALL, "hidden_units": (64,), "epochs": 20, "batch_size": 16, "noise_factor": 0.0}
    bars = images[::3]
    detector = AnomalyDetector(
        flags=flags, false_alarms=0.2, validation_fraction=0.3, random_state=0
    )
    return detector.fit(bars)


def test_what_is_odd_has_lower_scores(fitted, images):
    bars, boxes = fitted.score_samples(images[::3]), fitted.score_samples(images[1::3])
    assert np.mean(boxes[:, None] < bars[None]) > 0.9  # the area under the curve
    assert set(fitted.predict(images).tolist()) <= {1, -1}
    decisions = fitted.decision_function(images)
    np.testing.assert_allclose(decisions, fitted.score_samples(images) - fitted.offset_)
    np.testing.assert_array_equal(fitted.predict(images), np.where(decisions < -1e-3, -1, 1))
    assert fitted.threshold_.value == -fitted.offset_
    assert fitted.threshold_.rate.low < 0.2 < fitted.threshold_.rate.high


def test_flat_rows_and_images_are_the_same(fitted, images):
    flat = images.reshape(len(images), -1)
    np.testing.assert_allclose(fitted.score_samples(flat), fitted.score_samples(images))


def test_images_of_another_shape_are_refused(fitted, images):
    with pytest.raises(ValueError, match=r"shape \(7, 9, 1\), and the detector has \(9, 7, 1\)"):
        fitted.predict(images.reshape(-1, 7, 9, 1))
    np.testing.assert_array_equal(fitted.predict(images[..., 0]), fitted.predict(images))


def test_bytes_and_floats_are_the_same_images(fitted, images):
    scores = fitted.score_samples(images)
    np.testing.assert_allclose(fitted.score_samples(images / 255), scores, rtol=1e-4)
    for same in (images.astype(int), images.astype(float), images.tolist()):
        flat = np.asarray(same).reshape(len(images), -1)
        np.testing.assert_allclose(fitted.score_samples(flat), scores, rtol=1e-4)
    beyond = images / 255 * 1.2 - 0.1  # as after resizing
    clipped = fitted.score_samples(beyond.clip(0, 1))
    np.testing.assert_allclose(fitted.score_samples(beyond), clipped, rtol=1e-4)


def test_a_fitted_detector_survives_pickle_and_clone(fitted, images):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(images), fitted.predict(images))
    assert not hasattr(clone(fitted), "offset_")


def test_it_is_public():
    assert flaxae.AnomalyDetector is AnomalyDetector


@pytest.mark.parametrize(
    ("parameters", "X", "error", "message"),
    [
        ({"image_shape": (2, 3)}, np.zeros((4, 7)), ValueError, "which are no images of"),
        ({"image_shape": (4, 16)}, np.zeros((4, 8, 8)), ValueError, r"8\), and .*\(4, 16, 1\)"),
        ({}, np.full((4, 7), 3.0), ValueError, r"float64 in 3..3; expected uint8"),
        ({}, np.array([[np.nan, 1.0]] * 3), ValueError, "NaN"),
        ({"score_name": "x"}, np.zeros((4, 7)), InputError, "score_name is 'x'; expected one of"),
        ({"false_alarms": 0}, np.zeros((4, 7)), InputError, "false_alarms is 0; expected"),
        ({"false_alarms": 1e-310}, np.zeros((4, 7)), InputError, "is 1e-310; .* at least 1e-09"),
        ({"pixel_range": (1, 0)}, np.zeros((4, 7)), InputError, r"pixel_range is \(1, 0\)"),
        ({"pixel_range": (0, np.inf)}, np.zeros((4, 7)), InputError, "expected None, .*two finite"),
        ({"pixel_range": 5}, np.zeros((4, 7)), InputError, "pixel_range is 5; expected None"),
        ({"pixel_range": "foo"}, np.zeros((4, 7)), InputError, "pixel_range is 'foo'; expected"),
        ({"pixel_range": "01"}, np.zeros((4, 7)), InputError, "pixel_range is '01'; expected"),
        ({"pixel_range": [[1], [2, 3]]}, np.zeros((4, 7)), InputError, "pixel_range is .*expected"),
        ({"flags": {"color": 1}}, np.zeros((4, 7)), InputError, "--color is no flag of train"),
        ({"preset": "x"}, np.zeros((4, 7)), InputError, "--preset got x"),
    ],
)
def test_nonsense_is_refused(parameters, X, error, message):
    with pytest.raises(error, match=message):
        AnomalyDetector(**parameters).fit(X)


def test_too_few_images_for_the_rate_are_warned_of(images, monkeypatch):
    monkeypatch.setattr(module, "trained", untrained)
    detector = AnomalyDetector(flags=SMALL, random_state=0)
    with pytest.warns(UserWarning, match=r"1.00% false alarms take 99 .* there are 9: the thresh"):
        detector.fit(images)
    assert detector.threshold_.value is None
    assert (detector.predict(images) == 1).mean() > 0.5
