"""What is minimized and what is measured: pure functions of one batch.

`LOSSES`, `MEASURES` and `CORRUPTIONS` name them. A value is a function, or where to find it as
"module:function", so that the command line can list the names without importing JAX. A user may add
to them.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flaxae.errors import LARGEST, Options, require

# (logits, images, extras) -> {name: [batch]}; the mean of "loss" is minimized. `extras` is what
# the model's bottleneck measured, and "ssim_loss" if it has a weight, by name, each [batch]. See
# `losses.py`.
Objective = Callable[..., dict[str, Any]]

LOSSES: dict[str, str | Objective] = {
    "bce": "flaxae.objectives.losses:bce",
    "mse": "flaxae.objectives.losses:mse",
    "l1": "flaxae.objectives.losses:l1",
}

# (reconstructions, images) -> [batch], pixels in 0..1; their means over a split are reported.
MEASURES: dict[str, str | Callable[..., Any]] = {
    "mse": "flaxae.objectives.measures:mean_squared_error",
    "ssim": "flaxae.objectives.ssim:structural_similarity",
}

# (ObjectiveConfig, image, key) -> image: what training does to an input, but not to its target.
CORRUPTIONS: dict[str, str | Callable[..., Any]] = {
    "affine": "flaxae.objectives.corruptions:affine",
    "shift": "flaxae.objectives.corruptions:shift",
    "mask": "flaxae.objectives.corruptions:mask",
}


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Options):
    """Objective.

    Raises:
        InputError: a value is out of range, or `loss` is not in `LOSSES`.

    Example:
        >>> flaxae.ObjectiveConfig(loss="mse", noise_factor=0.3).loss
        'mse'
    """

    loss: str = field(default="bce", metadata={"choices": LOSSES})
    """Per pixel: sigmoid cross-entropy (bce), squared error (mse) or absolute error (l1)."""
    ssim_weight: float = 0.0
    """Weight of 1 - SSIM (structural similarity), which is added to the loss; 0: not added."""
    noise_factor: float = 0.0
    """Standard deviation of the Gaussian noise on the input, in units of the pixel range 0..1."""
    corrupt: tuple[str, ...] = field(default=(), metadata={"choices": CORRUPTIONS})
    """What training does to the input, one after another: affine, shift, mask (none: nothing)."""
    rotation: float = 15.0
    """Affine: largest turn to either side, in degrees, at most 180."""
    shear: float = 10.0
    """Affine: largest shear to either side, in degrees, below 90."""
    scaling: float = 0.1
    """Affine: largest change of the size to either side, as a fraction of it, below 1."""
    translation: float = 0.07
    """Affine and shift: largest move to either side, as a fraction of the image's, at most 1."""
    mask_size: float = 0.3
    """Mask: height and width of the black rectangle, as a fraction of the image's, at most 1."""

    def check(self) -> None:
        require(self.loss in LOSSES, "--loss", self.loss, f"one of {', '.join(LOSSES)}")
        fits = 0 <= self.ssim_weight < LARGEST
        require(fits, "--ssim-weight", self.ssim_weight, "0 <= weight < 3.4e38")
        fits = 0 <= self.noise_factor < LARGEST
        require(fits, "--noise-factor", self.noise_factor, "0 <= standard deviation < 3.4e38")
        known = f"names among {', '.join(CORRUPTIONS)}, each at most once"
        fits = set(self.corrupt) <= set(CORRUPTIONS) and len(set(self.corrupt)) == len(self.corrupt)
        require(fits, "--corrupt", " ".join(self.corrupt), known)
        require(0 <= self.rotation <= 180, "--rotation", self.rotation, "0 to 180 degrees")
        require(0 <= self.shear < 90, "--shear", self.shear, "0 <= degrees < 90")
        require(0 <= self.scaling < 1, "--scaling", self.scaling, "0 <= fraction < 1")
        require(0 <= self.translation <= 1, "--translation", self.translation, "0 to 1")
        require(0 < self.mask_size <= 1, "--mask-size", self.mask_size, "0 < fraction <= 1")


def find(table: Mapping[str, str | Callable[..., Any]], name: str) -> Callable[..., Any]:
    """The function that a table has under `name`; imports its module if need be."""
    entry = table[name]
    return pkgutil.resolve_name(entry) if isinstance(entry, str) else entry
