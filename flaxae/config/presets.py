"""Presets: named sets of flags, and what each is for. Flags that are given win over them."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Preset(NamedTuple):
    """What a preset is for, and the values of flags by name."""

    purpose: str
    flags: Mapping[str, Any]


_STANDARD = {
    "filters": "auto",
    "latent_dim": 64,
    "batch_size": 64,
    "latent_noise": 0.1,
    "learning_rate": 3e-3,
    "epochs": 20,
}

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
            "weight_decay": 1e-5,
            "epochs": 50,
        },
    ),
    "standard": Preset(
        "a model of ordinary size for images of 28 to 256 pixels, gray or in color", _STANDARD
    ),
    "embedding": Preset(
        "embeddings whose neighbors are alike, at the price of softer reconstructions; use "
        "--checkpoint latest",
        {
            **_STANDARD,
            "latent_noise": 0.2,
            "corrupt": ("affine",),
            "rotation": 5.0,
            "shear": 0.0,
            "scaling": 0.05,
            "translation": 0.03,
        },
    ),
    "map": Preset(
        "a map of images of up to 64x64 pixels: two numbers for each, to look at with report",
        {
            "model": "fully_connected",
            "hidden_units": (512, 512, 256),
            "latent_dim": 2,
            "ssim_weight": 0.1,
            "batch_size": 128,
            "learning_rate": 2e-3,
            "epochs": 60,
        },
    ),
    "anomaly": Preset(
        "find odd images after training on about a thousand normal ones, up to 64x64 pixels, with "
        "score; of more images, fewer --epochs do",
        {
            "model": "fully_connected",
            "hidden_units": (512, 256),
            "latent_dim": 64,
            "batch_size": 64,
            "learning_rate": 2e-3,
            "noise_factor": 0.3,
            "epochs": 150,  # of about a thousand images; about 2,000 steps are what it takes
            "scoring": True,
        },
    ),
}
