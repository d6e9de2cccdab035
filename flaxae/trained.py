"""The commands that read a run: they take everything but the question from its workdir."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
from flax.training.train_state import TrainState

from flaxae import data, terminal
from flaxae.checkpoint import open_checkpoints
from flaxae.config import EvaluateConfig, ReconstructConfig, TrainConfig, parse_checkpoint
from flaxae.data import ImageSet
from flaxae.errors import InputError
from flaxae.evaluate import evaluate, pick_batch, reconstruction_rows
from flaxae.figures import reconstruction_grid, save_png
from flaxae.model import Autoencoder
from flaxae.placement import keep_compiled_programs, place, use_every_core
from flaxae.step import Rngs, create_train_state, eval_step, make_rngs
from flaxae.workdir import CHECKPOINTS, RECONSTRUCTIONS, read_config


class Trained(NamedTuple):
    """A run as its workdir holds it."""

    workdir: Path
    config: TrainConfig
    splits: dict[str, ImageSet]
    state: TrainState
    epoch: int  # completed when the checkpoint was taken
    rngs: Rngs


def open_trained(workdir: str, checkpoint: str) -> Trained:
    """Reads config, dataset and checkpoint.

    Raises:
        InputError: one of them is missing or does not fit.
    """
    folder = Path(workdir).expanduser().absolute()
    config = read_config(folder)
    use_every_core()
    keep_compiled_programs(config.compute.compilation_cache)
    splits = data.load(config.data)
    model = Autoencoder(config.model, config.compute, splits["train"].images.shape[1:])
    rngs = make_rngs(config.seed)
    state = place(config).replicate(create_train_state(model, config.optimizer, rngs.init))
    with open_checkpoints(folder / CHECKPOINTS, config, writing=False) as checkpoints:
        restored = checkpoints.restore(state, parse_checkpoint(checkpoint))
    if restored is None:
        raise InputError(f"{folder} holds no checkpoint yet; train for an epoch first")
    return Trained(folder, config, splits, restored.state, restored.progress.epoch, rngs)


def evaluate_command(config: EvaluateConfig) -> int:
    """Prints the quality of a split's reconstructions."""
    run = open_trained(config.workdir, config.checkpoint)
    split = data.select(run.splits, config.split)
    noise_factor = run.config.optimizer.noise_factor
    step = jax.jit(place(run.config).divide(partial(eval_step, noise_factor=noise_factor)))
    batch_size = run.config.optimizer.batch_size
    quality = evaluate(step, run.state, split.images, batch_size, run.rngs.evaluate)
    terminal.show_quality(f"{config.split} split, after epoch {run.epoch}", quality)
    where = {"split": config.split, "epoch": run.epoch, "step": int(run.state.step)}
    print(json.dumps(where | quality._asdict()))
    return 0


def reconstruct_command(config: ReconstructConfig) -> int:
    """Draws examples of a split over their reconstructions."""
    run = open_trained(config.workdir, config.checkpoint)
    batch = pick_batch(data.select(run.splits, config.split), config.examples)
    noise_factor = run.config.optimizer.noise_factor
    rows = reconstruction_rows(run.state, batch, run.rngs.evaluate, noise_factor)
    picture = reconstruction_grid(rows, f"{config.split} split, epoch {run.epoch}")
    default = run.workdir / RECONSTRUCTIONS / f"{config.split}.png"
    path = Path(config.output).expanduser().absolute() if config.output else default
    save_png(picture, path)
    print(path)
    return 0
