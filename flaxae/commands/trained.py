"""The commands that read a run: they take everything but the question from its workdir."""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState
from jaxtyping import Int

from flaxae.commands import terminal
from flaxae.config import EvaluateConfig, ReconstructConfig, TrainConfig, parse_checkpoint
from flaxae.data import store
from flaxae.data.class_names import display_names
from flaxae.data.store import ImageSet
from flaxae.errors import InputError
from flaxae.evaluation.pca import fit_pca, project
from flaxae.evaluation.reconstruction import embed_images, evaluate, pick_batch, reconstruction_rows
from flaxae.models.autoencoder import Autoencoder
from flaxae.report.figures import reconstruction_grid, save_png
from flaxae.runs.checkpoints import open_checkpoints
from flaxae.runs.workdir import CHECKPOINTS, EVALUATION, RECONSTRUCTIONS, read_config
from flaxae.training.devices import keep_compiled_programs, place, use_every_core
from flaxae.training.step import Rngs, create_train_state, embed_step, eval_step, make_rngs

Labels = Int[np.ndarray, " examples"]


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
    use_every_core(config.model)
    keep_compiled_programs(config.compute.compilation_cache)
    splits = store.load(config.data)
    model = Autoencoder(config.model, config.compute, splits["train"].images.shape[1:])
    rngs = make_rngs(config.seed)
    init = partial(create_train_state, model, config.optimizer)
    # Only its shapes, because compiling the initial weights takes seconds and they are not used.
    state = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(init, rngs.init)
    )
    state = place(config, model.image_shape).replicate(state)
    with open_checkpoints(folder / CHECKPOINTS, config, writing=False) as checkpoints:
        restored = checkpoints.restore(state, parse_checkpoint(checkpoint))
    if restored is None:
        raise InputError(f"{folder} holds no checkpoint yet; train for an epoch first")
    return Trained(folder, config, splits, restored.state, restored.progress.epoch, rngs)


def evaluate_command(config: EvaluateConfig) -> int:
    """Prints the quality of a split's reconstructions and of its embedding."""
    run = open_trained(config.workdir, config.checkpoint)
    split = store.select(run.splits, config.split)
    noise_factor = run.config.optimizer.noise_factor
    step = jax.jit(
        place(run.config, split.images.shape[1:]).divide(
            partial(eval_step, noise_factor=noise_factor)
        )
    )
    batch_size = run.config.optimizer.batch_size
    quality = evaluate(step, run.state, split.images, batch_size, run.rngs.evaluate)
    terminal.show_quality(f"{config.split} split, after epoch {run.epoch}", quality)
    embedding = evaluate_embedding(run, config.split, split)
    where = {"split": config.split, "epoch": run.epoch, "step": int(run.state.step)}
    print(json.dumps(where | quality._asdict() | {"embedding": embedding}))
    return 0


def evaluate_embedding(run: Trained, split_name: str, split: ImageSet) -> dict[str, Any]:
    """Prints and draws the quality of a split's embedding; returns it for JSON."""
    # scikit-learn and matplotlib take seconds to import, which `reconstruct` does without.
    from flaxae.evaluation.embedding_quality import Examples, embedding_quality
    from flaxae.report.plots import save_confusion, save_embedding

    def examples(part: ImageSet, labels: Labels | None) -> Examples:
        batch_size = run.config.optimizer.batch_size
        embedding = embed_images(embed_fn, run.state, part.images, batch_size)
        return Examples(embedding.vectors, part.images, labels)

    embed_fn = jax.jit(embed_step)
    train = run.splits["train"]
    # A training example would be its own nearest neighbor.
    unseen = split_name in ("validation", "test")
    tested = examples(split, split.labels if unseen else None)
    names = display_names(split.class_names)
    quality = embedding_quality(examples(train, train.labels), tested, len(names))
    folder = run.workdir / EVALUATION / split_name
    # One dimension is drawn as a line.
    vectors = np.pad(tested.vectors, ((0, 0), (0, max(0, 2 - tested.vectors.shape[1]))))
    pca = fit_pca(vectors, 2)
    plane, shares = project(pca, vectors), pca.variance_ratio.tolist()
    save_embedding(folder / "embedding.png", plane, shares, split.labels, names)
    if quality.confusion is not None:
        save_confusion(folder / "confusion.png", np.array(quality.confusion), names)
    terminal.show_embedding_quality(quality, names, unseen, folder)
    return quality._asdict() | {"class_names": names, "pictures": str(folder)}


def reconstruct_command(config: ReconstructConfig) -> int:
    """Draws examples of a split over their reconstructions."""
    run = open_trained(config.workdir, config.checkpoint)
    batch = pick_batch(store.select(run.splits, config.split), config.examples)
    noise_factor = run.config.optimizer.noise_factor
    rows = reconstruction_rows(run.state, batch, run.rngs.evaluate, noise_factor)
    picture = reconstruction_grid(rows, f"{config.split} split, epoch {run.epoch}")
    default = run.workdir / RECONSTRUCTIONS / f"{config.split}.png"
    path = Path(config.output).expanduser().absolute() if config.output else default
    save_png(picture, path)
    print(path)
    return 0
