"""A run's folder made in a second: random parameters as its checkpoint, images of solid colors."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from tensorboardX import SummaryWriter

from flaxae import data
from flaxae.checkpoint import Progress, open_checkpoints
from flaxae.config import ModelConfig, TrainConfig, to_json
from flaxae.data import ImageSet
from flaxae.model import Autoencoder
from flaxae.step import create_train_state, make_rngs
from flaxae.workdir import CHECKPOINTS, CONFIG

COLORS = {"Red": (255, 0, 0), "Green": (0, 255, 0), "Blue": (0, 0, 255)}
HEIGHT, WIDTH = 8, 12


def solid_images(
    count: int, class_names: tuple[str, ...] = tuple(COLORS), seed: int = 0
) -> ImageSet:
    """Images of one color each, of varying brightness, whose label is their color."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.int32)
    brightness = rng.uniform(0.5, 1, (count, 1, 1, 1))
    palette = np.array(list(COLORS.values()))
    images = np.broadcast_to(
        palette[labels][:, None, None] * brightness, (count, HEIGHT, WIDTH, 3)
    ).astype(np.uint8)
    return ImageSet(images, labels, class_names)


def make_run(
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: ModelConfig | None = None,
    splits: dict[str, ImageSet] | None = None,
) -> dict[str, ImageSet]:
    """Makes `workdir` a run, and lets the commands see its images; returns its splits."""
    sizes = {"train": 60, "validation": 10, "test": 41}
    splits = splits or {name: solid_images(size, seed=size) for name, size in sizes.items()}
    monkeypatch.setattr(data, "load", lambda config: splits)
    config = dataclasses.replace(
        TrainConfig(), model=model or ModelConfig(filters=(4, 4)), workdir=str(workdir)
    )
    workdir.mkdir(parents=True)
    (workdir / CONFIG).write_text(to_json(config))
    image_shape = splits["train"].images.shape[1:]
    autoencoder = Autoencoder(config.model, config.compute, image_shape)
    init = functools.partial(create_train_state, autoencoder, config.optimizer)
    rng = np.random.default_rng(0)

    def some_array(leaf: jax.ShapeDtypeStruct) -> jax.Array:  # compiling `init` takes seconds
        return jax.numpy.asarray(rng.normal(scale=0.3, size=leaf.shape), leaf.dtype)

    state = jax.tree.map(some_array, jax.eval_shape(init, make_rngs(0).init))
    state = state.replace(step=jax.numpy.int32(7))
    with open_checkpoints(workdir / CHECKPOINTS, config) as checkpoints:
        checkpoints.save(state, Progress(3), 0.5)
    with SummaryWriter(str(workdir)) as events:
        events.add_scalar("train_loss", 0.5, 7)
    return splits
