"""`AnomalyDetector`: trains and scores by the conventions of scikit-learn."""

import dataclasses
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax.training.train_state import TrainState
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from flaxae.api.score import reference
from flaxae.api.train import train
from flaxae.config import TrainConfig
from flaxae.config.flags import preset as config_of
from flaxae.data.splits import Split
from flaxae.errors import InputError
from flaxae.evaluation.scoring import DEFAULT_SCORE, FALSE_ALARMS, RAREST, SCORES, WORST_PIXELS
from flaxae.evaluation.scoring.measuring import measure
from flaxae.evaluation.scoring.scores import Reference
from flaxae.evaluation.scoring.threshold import exceeds, threshold
from flaxae.runs.reference import Kept


class Trained(NamedTuple):
    """What is left of a training run: all that scores need, as arrays."""

    params: Any
    kept: Kept


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Finds odd images after training on normal ones, as an outlier detector of scikit-learn.

    Rows of X are flat images, [n, height * width * channels]; images [n, height, width] and
    [n, height, width, channels] are taken too. They are uint8, or floats in 0..1 unless
    `pixel_range` says otherwise. `fit` takes normal images only, and holds some of them out, which
    set the threshold. Training rounds floats to 8 bits.

    Parameters:
        image_shape: Height and width, or height, width and channels, of flat rows; None: those of
            X, whose flat rows are images of one row of gray pixels.
        preset: A key of `flaxae.config.presets.PRESETS`.
        flags: Flags of train that win over the preset, as {"latent_dim": 32}.
        score_name: A key of `flaxae.evaluation.scoring.SCORES`.
        false_alarms: The share of normal images that may be called outliers.
        worst_pixels: The percentage of pixels of the scores that look at the worst ones.
        validation_fraction: The share of X that is held out.
        pixel_range: The values that become 0 and 1; what lies beyond is clipped. None: 0..255 for
            an X of uint8, 0..1 for one of floats; that of `fit` must not lie beyond. "fit": the
            smallest and the largest value of the X of `fit`.
        random_state: Seed of what is held out and of the training.

    Attributes:
        offset_: `decision_function` is `score_samples - offset_`.
        threshold_: The `flaxae.evaluation.scoring.threshold.Threshold`, with its interval.
        n_features_in_: Pixels times channels.

    With too few held-out images for the rate of false alarms, `fit` warns, and the largest held-out
    score is the threshold.

    Raises:
        ValueError: X cannot be used.
        InputError: a parameter cannot be used.

    Example:
        >>> detector = flaxae.AnomalyDetector(false_alarms=0.2, flags={"epochs": 1}, random_state=0)
        >>> detector.fit(images).predict(images[:3]).shape
        (3,)
    """

    # The types are in the docstring: scikit-learn's `__init__` takes anything, and `fit` checks it.
    def __init__(
        self,
        image_shape: Any = None,
        *,
        preset: Any = "anomaly",
        flags: Any = None,
        score_name: Any = DEFAULT_SCORE,
        false_alarms: Any = FALSE_ALARMS,
        worst_pixels: Any = WORST_PIXELS,
        validation_fraction: Any = 0.1,
        pixel_range: Any = None,
        random_state: Any = None,
    ) -> None:
        self.image_shape = image_shape
        self.preset = preset
        self.flags = flags
        self.score_name = score_name
        self.false_alarms = false_alarms
        self.worst_pixels = worst_pixels
        self.validation_fraction = validation_fraction
        self.pixel_range = pixel_range
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "AnomalyDetector":
        """Trains on normal images and sets the threshold; `y` is ignored."""
        self._require_parameters()
        values: Any = validate_data(self, _flat(X), dtype="numeric", ensure_min_samples=2)
        self.shape_ = self._shape_of(values, X.shape[1:] if _are_images(X) else values.shape[1:])
        self._require_shape(X)
        self.range_ = self._range_of(values)
        images = self._pixels(values)
        random = check_random_state(self.random_state)
        order = random.permutation(len(images))
        held_out = min(max(round(self.validation_fraction * len(images)), 1), len(images) - 1)
        train_rows, other_rows = np.sort(order[held_out:]), np.sort(order[:held_out])
        other = Split(images[other_rows])
        splits = {"train": Split(images[train_rows]), "validation": other, "test": other}
        self.config_ = self._config(len(train_rows), int(random.randint(2**31)))
        self.trained_ = trained(self.config_, splits, float(self.worst_pixels))
        self._state = self._make_state()
        normal = self._score(self.trained_.kept.held_out)
        self.threshold_ = threshold(normal, self.false_alarms)
        if self.threshold_.value is None:
            warnings.warn(
                f"{self.false_alarms:.2%} false alarms take {self.threshold_.needed:,} held-out "
                f"images, and there are {held_out:,}: the threshold is their largest score",
                stacklevel=2,
            )
        limit = normal.max() if self.threshold_.value is None else self.threshold_.value
        self.offset_ = -float(limit)
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " samples"]:
        """The negated score of each image: lower is odder."""
        check_is_fitted(self)
        values: Any = validate_data(self, _flat(X), dtype="numeric", reset=False)
        self._require_shape(X)
        images = self._pixels(values)
        size = self.config_.optimizer.batch_size
        return -self._score(measure(self._state, images, size, self.worst_pixels)).astype(float)

    def decision_function(self, X: Any) -> Float[np.ndarray, " samples"]:
        """`score_samples` minus `offset_`: below 0 for outliers, by more than rounding."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int[np.ndarray, " samples"]:
        """-1 for outliers, +1 for the others."""
        return np.where(exceeds(-self.score_samples(X), -self.offset_), -1, 1)

    def __getstate__(self) -> dict[str, Any]:
        """Without the state, which holds compiled functions and can be made from the rest."""
        return {k: v for k, v in super().__getstate__().items() if k != "_state"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores what `__getstate__` left out."""
        super().__setstate__(state)
        if hasattr(self, "trained_"):
            self._state = self._make_state()

    def _make_state(self) -> TrainState:
        model = self.config_.model.build(self.config_.compute, self.shape_)
        params = self.trained_.params
        return TrainState.create(apply_fn=model.apply, params=params, tx=optax.identity())

    def _score(self, measured: Any) -> np.ndarray:
        kept = self.trained_.kept
        return SCORES[self.score_name](measured, Reference(kept.vectors, kept.held_out))

    def _require_parameters(self) -> None:
        if self.score_name not in SCORES:
            expected = f"expected one of {', '.join(SCORES)}"
            raise InputError(f"score_name is {self.score_name!r}; {expected}")
        if not 0 < self.worst_pixels <= 100:
            raise InputError(f"worst_pixels is {self.worst_pixels}; expected percent, 0 to 100")
        if not RAREST <= self.false_alarms < 1:
            expected = f"expected 0 < share < 1, at least {RAREST:g}"
            raise InputError(f"false_alarms is {self.false_alarms}; {expected}")
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"validation_fraction is {self.validation_fraction}; expected 0 < share < 1"
            )
        if self.pixel_range is not None and not _is_range(self.pixel_range):
            raise InputError(
                f'pixel_range is {self.pixel_range!r}; expected None, "fit", or two finite '
                "numbers, the smaller one first"
            )

    def _shape_of(self, values: np.ndarray, came: tuple[int, ...]) -> tuple[int, int, int]:
        """The shape of an image; `came` is that of an entry of X."""
        if self.image_shape is not None:
            found = tuple(int(size) for size in self.image_shape)
        else:
            found = came if len(came) > 1 else (1, *came)
        height, width, channels = (*found, 1)[:3] if len(found) in (2, 3) else (0, 0, 0)
        if height * width * channels != values.shape[1] or min(height, width, channels) < 1:
            raise ValueError(
                f"X has entries of the shape {came}, which are no images of {self.image_shape}; "
                "expected image_shape=(height, width) or (height, width, channels)"
            )
        return height, width, channels

    def _require_shape(self, X: Any) -> None:
        """Raises ValueError for images of another shape, whose pixels would be scrambled."""
        if _are_images(X) and (*X.shape[1:], 1)[:3] != self.shape_:
            raise ValueError(
                f"X has images of the shape {X.shape[1:]}, and the detector has {self.shape_}; "
                "give images of that shape, or fit with their image_shape"
            )

    def _range_of(self, values: np.ndarray) -> tuple[float, float]:
        """The values of the X of `fit` that become 0 and 1."""
        if self.pixel_range == "fit":
            return float(values.min()), float(values.max())
        if self.pixel_range is None:
            return _range_of_type(values)
        low, high = self.pixel_range
        return float(low), float(high)

    def _range_here(self, values: np.ndarray) -> tuple[float, float]:
        """The same of any X, which may hold bytes where that of `fit` held floats in 0..1."""
        if self.pixel_range is not None:
            return self.range_
        kind, largest = values.dtype.kind, values.max()
        if values.dtype == np.uint8 or (kind in "iu" and largest > 1):
            return 0.0, 255.0
        # Floats in 0..1 may lie a little beyond after resizing; bytes are hardly all below 2.
        return (0.0, 1.0) if kind == "f" and largest <= 2 else self.range_

    def _pixels(self, values: np.ndarray) -> np.ndarray:
        """Images [n, height, width, channels] of floats in 0..1."""
        low, high = self._range_here(values)
        scaled = (values.astype(np.float64) - low) / ((high - low) or 1.0)
        return np.clip(scaled, 0, 1).astype(np.float32).reshape(len(values), *self.shape_)

    def _config(self, images: int, seed: int) -> TrainConfig:
        config = config_of(self.preset, **{"scoring": False, "seed": seed, **(self.flags or {})})
        size = min(config.optimizer.batch_size, images)
        optimizer = dataclasses.replace(config.optimizer, batch_size=size)
        return dataclasses.replace(config, optimizer=optimizer)


def _is_range(value: Any) -> bool:
    """Whether it is "fit", or two finite numbers of which the first is smaller."""
    if isinstance(value, str):
        return value == "fit"
    try:
        span = np.asarray(value, float)
    except (TypeError, ValueError, OverflowError):
        return False
    return span.shape == (2,) and bool(-np.inf < span[0] < span[1] < np.inf)


def _range_of_type(values: np.ndarray) -> tuple[float, float]:
    """0..255 of uint8, 0..1 of all else."""
    if values.dtype == np.uint8:
        return 0.0, 255.0
    if values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"X has {values.dtype} in {values.min():.9g}..{values.max():.9g}; expected uint8, "
            'or floats in 0..1, or give pixel_range=(low, high) or "fit"'
        )
    return 0.0, 1.0


def _flat(X: Any) -> Any:
    """Images as flat rows; anything else as it is."""
    return X.reshape(len(X), -1) if _are_images(X) else X


def _are_images(X: Any) -> bool:
    return isinstance(X, np.ndarray) and X.ndim in (3, 4)


def trained(config: TrainConfig, splits: dict[str, Split], percent: float) -> Trained:
    """Trains in a temporary folder, and keeps what scores need."""
    run = train(config, splits)
    return Trained(jax.device_get(run.variables["params"]), reference(run, percent))
