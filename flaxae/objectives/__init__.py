"""What is minimized and what is measured: pure functions of one batch.

`LOSSES` and `MEASURES` name them. A value is a function, or where to find it as "module:function",
so that the command line can list the names without importing JAX. A user may add to both.
"""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flaxae.errors import Options, require

# (logits, images, extras) -> {name: [batch]}; the mean of "loss" is minimized. `extras` is what
# the model's bottleneck measured, by name, each [batch]. See `losses.py`.
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
    noise_factor: float = 0.0
    """Standard deviation of the Gaussian noise on the input, in units of the pixel range 0..1."""

    def check(self) -> None:
        require(self.loss in LOSSES, "--loss", self.loss, f"one of {', '.join(LOSSES)}")
        finite = 0 <= self.noise_factor < float("inf")
        require(finite, "--noise-factor", self.noise_factor, "0 or more")


def find(table: Mapping[str, str | Callable[..., Any]], name: str) -> Callable[..., Any]:
    """The function that a table has under `name`; imports its module if need be."""
    entry = table[name]
    return pkgutil.resolve_name(entry) if isinstance(entry, str) else entry
