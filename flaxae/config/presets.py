"""Presets: named sets of flags, and what each is for. Flags that are given win over them."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Preset(NamedTuple):
    """Values of flags by name, and what they are good for."""

    purpose: str
    flags: Mapping[str, Any]


PRESETS = {
    "original": Preset(
        "the recipe of the project that flaxae re-creates",
        {
            "activation": "relu",
            "batch_size": 256,
            "learning_rate": 1e-3,
            "schedule": "staircase",
            "warmup": 0.0,
            "beta2": 0.999,
            "epochs": 50,
        },
    ),
}
