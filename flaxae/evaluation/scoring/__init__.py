"""Scores of how odd an image is, the threshold from normal images, and how well both detect.

`SCORES` names the scores. A value says what the score is and in which unit, and where its function
is, as "module:function", so that the command line can list the names without importing anything
heavy. A user may add to it.
"""

import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple


class Score(NamedTuple):
    """A score: higher is odder."""

    # (Measured, Reference) -> [images]
    function: str | Callable[..., Any]
    meaning: str
    unit: str

    def __call__(self, measured: Any, reference: Any) -> Any:
        """The scores of measured images; imports the function's module if need be."""
        function = self.function
        found = pkgutil.resolve_name(function) if isinstance(function, str) else function
        return found(measured, reference)


_HERE = "flaxae.evaluation.scoring.scores"
_SQUARED = "of the pixel range 0..1, squared"
_DEVIATIONS = "standard deviations of the training images' embeddings"

SCORES: dict[str, Score] = {
    "mse": Score(f"{_HERE}:mse", "mean squared error of the reconstruction", _SQUARED),
    "worst_pixels": Score(
        f"{_HERE}:worst_pixels", "mean of the largest squared errors, of --worst-pixels %", _SQUARED
    ),
    "cross_entropy": Score(
        f"{_HERE}:cross_entropy", "sigmoid cross-entropy of the reconstruction", "nats a pixel"
    ),
    "neighbors": Score(
        f"{_HERE}:neighbors",
        "mean distance of the embedding to those of the 5 nearest training images",
        "units of the embedding",
    ),
    "mahalanobis": Score(
        f"{_HERE}:mahalanobis",
        "distance of the embedding to the training images' mean, each direction in units of its "
        "spread",
        _DEVIATIONS,
    ),
    "whitened_neighbors": Score(
        f"{_HERE}:whitened_neighbors",
        "mean distance to the 5 nearest training images, each direction in units of its spread",
        _DEVIATIONS,
    ),
    "combined": Score(
        f"{_HERE}:combined",
        "mean of worst_pixels and whitened_neighbors, each minus the median of held-out normal "
        "images and divided by their spread",
        "spreads of held-out normal images (90th percentile minus median)",
    ),
}
DEFAULT_SCORE = "combined"
FALSE_ALARMS = 0.01  # the share of normal images above the threshold, unless one asks for another
RAREST = 1e-9  # the smallest such share, which takes 1e9 held-out images
WORST_PIXELS = 5.0  # percent of the pixels
MAPS = 1000  # pictures of error maps, the highest scores first
