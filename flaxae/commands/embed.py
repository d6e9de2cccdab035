"""The conductor of `embed`: a split's vectors become the six files that the viewers read."""

import time
from pathlib import Path

import jax
import numpy as np

from flaxae.commands import terminal
from flaxae.commands.trained import open_trained
from flaxae.config import EmbedConfig
from flaxae.data import store
from flaxae.data.class_names import display_names
from flaxae.data.store import SPLITS, ImageSet
from flaxae.errors import InputError
from flaxae.evaluation.pca import fit_pca, project
from flaxae.evaluation.reconstruction import Embedding, embed_images
from flaxae.export import projector
from flaxae.export.folder import refuse_foreign, replace_folder
from flaxae.export.table import Points, write_metadata, write_parquet, write_vectors
from flaxae.export.viewers import viewer_steps
from flaxae.runs.workdir import write_atomically
from flaxae.training.step import embed_step

PARQUET = "embedding.parquet"
FILES = (
    projector.VECTORS,
    projector.METADATA,
    projector.SPRITE,
    projector.PBTXT,
    projector.JSON,
    PARQUET,
)


def embed(config: EmbedConfig) -> int:
    """Embeds a split of a trained model's dataset and exports it.

    Raises:
        InputError: the run, the embedding or the output folder cannot be used.
    """
    output = config.output_path()
    refuse_foreign(output, FILES)  # before the forward passes
    run = open_trained(config.workdir, config.checkpoint)
    split, split_names = pick_split(run.splits, config.split, config.limit)
    start = time.perf_counter()
    batch_size = run.config.optimizer.batch_size
    embedding = embed_images(jax.jit(embed_step), run.state, split.images, batch_size)
    points = make_points(embedding, split, split_names)
    embedded = time.perf_counter()
    name = projector.tensor_name(run.config.model.model, run.config.data.dataset, config.split)
    tensor = describe(points, name)
    with replace_folder(output, FILES) as scratch:
        write_files(scratch, points, tensor)
        forget_config(run.workdir)
    in_workdir = link_config(run.workdir, output, tensor)
    dimensions = embedding.vectors.shape[1]
    terminal.show_export(
        f"{config.split} split, after epoch {run.epoch}: {len(split.images):,} points of "
        f"{dimensions} dimensions; embedded in {embedded - start:.1f} s, "
        f"written in {time.perf_counter() - embedded:.1f} s",
        remarks(tensor, dimensions, split.images.shape[1:3]),
        output,
        viewer_steps(output, run.workdir if in_workdir else output),
    )
    return 0


def pick_split(
    splits: dict[str, ImageSet], name: str, limit: int | None
) -> tuple[ImageSet, list[str]]:
    """The first `limit` images of a split, and for each the name of the split that it is from.

    Raises:
        InputError: there are fewer than two.
    """
    whole = store.select(splits, name)
    labels = None if whole.labels is None else whole.labels[:limit]
    split = whole._replace(images=whole.images[:limit], labels=labels)
    count = len(split.images)
    if count < 2:
        raise InputError(
            f"the {name} split holds {count} image; viewers need 2 points or more: "
            "take --split all, or a larger dataset"
        )
    sizes = {part: len(splits[part].images) for part in SPLITS} if name == "all" else {name: count}
    names = [part for part, size in sizes.items() for _ in range(size)]
    return split, names[:count]


def make_points(embedding: Embedding, split: ImageSet, split_names: list[str]) -> Points:
    """What is written of an embedding; two dimensions get a third one of zeros.

    Raises:
        InputError: it has one dimension.
    """
    vectors, errors = embedding
    if vectors.shape[1] < 2:
        raise InputError(
            "the embedding has 1 dimension; viewers need 2 or more: train with a larger "
            "--latent-dim, or a larger last number of --filters or --hidden-units"
        )
    if vectors.shape[1] == 2:
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    names = display_names(split.class_names)
    return Points(vectors, errors, split.images, split.labels, names, split_names)


def describe(points: Points, name: str) -> projector.Tensor:
    """What the configs say about the points."""
    count, height, width, _ = points.images.shape
    sprite = projector.sprite_layout(count, height, width)
    return projector.Tensor(name, count, points.vectors.shape[1], sprite)


def write_files(folder: Path, points: Points, tensor: projector.Tensor) -> None:
    """The six files of an export."""
    write_vectors(folder / projector.VECTORS, points)
    write_metadata(folder / projector.METADATA, points)
    projector.draw_sprite(points.images, tensor.sprite).save(folder / projector.SPRITE)
    (folder / projector.PBTXT).write_text(projector.config_pbtxt(tensor))
    (folder / projector.JSON).write_text(projector.config_json(tensor))
    plane = project(fit_pca(points.vectors, 2), points.vectors)
    write_parquet(folder / PARQUET, points, plane)


def forget_config(workdir: Path) -> None:
    """Removes the workdir's config before its files change: better none than a wrong one."""
    (workdir / projector.PBTXT).unlink(missing_ok=True)


def link_config(workdir: Path, output: Path, tensor: projector.Tensor) -> bool:
    """Lets `tensorboard --logdir WORKDIR` find an export inside the workdir; tells whether it is.

    TensorBoard reads the config only where event files lie, and only files below it.
    """
    inside = output.is_relative_to(workdir.resolve())
    if inside:
        folder = str(output.relative_to(workdir.resolve()))
        write_atomically(workdir / projector.PBTXT, projector.config_pbtxt(tensor, folder).encode())
    return inside


def remarks(tensor: projector.Tensor, dimensions: int, image_size: tuple[int, ...]) -> list[str]:
    """What a person has to know who compares the files with the model."""
    said = []
    if dimensions != tensor.dimensions:
        said.append("a third dimension of zeros was added: the projector's 3-D view needs one")
    sprite = tensor.sprite
    if (sprite.height, sprite.width) != image_size:
        size = "x".join(map(str, image_size[::-1]))
        said.append(
            f"thumbnails were scaled down from {size} to {sprite.width}x{sprite.height} pixels: "
            "a sprite is 8,192 pixels wide at most; embedding.parquet holds the images in full"
        )
    if tensor.points > projector.MOST_POINTS:
        said.append(
            f"TensorBoard shows the first {projector.MOST_POINTS:,} of the {tensor.points:,} points"
        )
    return said
