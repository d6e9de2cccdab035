"""Patches of scikit-image's textures, some with defects: do scores find them, and maps show where?

Patches to train and validate on are cut from the left 60 % of a texture, those to be scored from
the right 40 %, so that they share no pixel.
"""

import functools
from typing import Any

import numpy as np
import skimage.data

import flaxae
from benchmarks.anomaly import Settings
from benchmarks.anomaly.defects import KINDS, add_defect
from benchmarks.anomaly.kept import kept
from benchmarks.anomaly.one_class import figures
from flaxae.api.score import maps
from flaxae.config.flags import from_flags
from flaxae.evaluation.pca import project
from flaxae.evaluation.scoring.baselines import components_of
from flaxae.evaluation.scoring.detection import localization

SIDE = 64
_SCORED = 200  # patches of each kind: without defect, with a scratch, with a stain


def measure_texture(settings: Settings, name: str) -> dict[str, Any]:
    """What the preset and the baselines make of one texture."""
    workdir = settings.workdir / f"texture-{name}"
    flags = {**settings.flags, "epochs": settings.texture_epochs, "workdir": str(workdir)}
    config = from_flags(flags)
    measure = functools.partial(measure_patches, config, name, settings.patches)
    return kept(workdir / "evaluation" / "anomaly.json", measure)


def measure_patches(config: flaxae.TrainConfig, name: str, count: int) -> dict[str, Any]:
    """Trains on patches, and compares scores and error maps with what is known of defects."""
    texture = getattr(skimage.data, name)()
    cut = round(0.6 * texture.shape[1])
    rng = np.random.default_rng(0)
    good = patches(texture[:, :cut], count, rng)
    test, masks = with_defects(texture[:, cut:], rng)
    held_out = max(count // 5, 1)
    splits = {"train": good[held_out:], "validation": good[:held_out], "test": test}
    run = flaxae.train(config, splits, verbose=True)
    scores = run.score(test)
    anomalous = np.asarray(masks.any(axis=(1, 2)))
    pixels = test[..., None] / np.float32(255)
    train = good[held_out:] / np.float32(255)
    errors = {
        "autoencoder": maps(run, test[..., None]).errors,
        "mean image": np.abs(pixels[..., 0] - train.mean(axis=0)),
        "PCA of 64": _pca_errors(train, pixels[..., 0], 64),
    }
    every = scores.every | {f"{key}, mse": (e**2).mean(axis=(1, 2)) for key, e in errors.items()}
    limit = scores.threshold.value
    normal = scores.values[~anomalous]
    return {
        "detection": {key: figures(values, anomalous) for key, values in every.items()},
        "localization": {key: _located(found, masks) for key, found in errors.items()},
        "false_alarms": None if limit is None else float((normal > limit).mean()),
        "seconds": sum(record["seconds"] for record in run.history),
    }


def patches(texture: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """So many patches [count, SIDE, SIDE] at random places."""
    tops = rng.integers(0, texture.shape[0] - SIDE + 1, count)
    lefts = rng.integers(0, texture.shape[1] - SIDE + 1, count)
    return np.stack([texture[y : y + SIDE, x : x + SIDE] for y, x in zip(tops, lefts, strict=True)])


def with_defects(texture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Patches without defects, then with each kind of them, and the masks."""
    images = patches(texture, _SCORED * (1 + len(KINDS)), rng)
    masks = np.zeros(images.shape, bool)
    for row in range(_SCORED, len(images)):
        kind = KINDS[row // _SCORED - 1]
        images[row], masks[row] = add_defect(images[row], kind, rng)
    return images, masks


def _pca_errors(train: np.ndarray, images: np.ndarray, size: int) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    pca = components_of(train.reshape(len(train), -1), size)
    rebuilt = project(pca, flat) @ pca.components + pca.mean
    return np.abs(flat - rebuilt).reshape(images.shape)


def _located(errors: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    found = localization(errors, masks)
    assert found is not None, "there are defects"
    return {key: 100 * value for key, value in found._asdict().items()}
