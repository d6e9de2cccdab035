"""The six files of an exported embedding."""

from pathlib import Path

import numpy as np

from flaxae.data.class_names import display_names
from flaxae.data.splits import Split
from flaxae.errors import InputError
from flaxae.evaluation.embedding import Embedding
from flaxae.evaluation.pca import fit_pca, project
from flaxae.export import projector
from flaxae.export.outputs import png_mark
from flaxae.export.table import Points, write_metadata, write_parquet, write_vectors

PARQUET = "embedding.parquet"
FILES = (
    projector.VECTORS,
    projector.METADATA,
    projector.SPRITE,
    projector.PBTXT,
    projector.JSON,
    PARQUET,
)


def make_points(embedding: Embedding, split: Split, split_names: list[str]) -> Points:
    """The rows of the files; two dimensions get a third one of zeros.

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
    return Points(vectors, errors, split.images, split.labels, names, split_names, split.files)


def describe(points: Points, name: str) -> projector.Tensor:
    """The description of the points for the projector's configs."""
    count, height, width, _ = points.images.shape
    sprite = projector.sprite_layout(count, height, width)
    return projector.Tensor(name, count, points.vectors.shape[1], sprite)


def write_files(folder: Path, points: Points, tensor: projector.Tensor) -> None:
    """The six files of an export."""
    write_vectors(folder / projector.VECTORS, points)
    write_metadata(folder / projector.METADATA, points)
    sprite = projector.draw_sprite(points.images, tensor.sprite)
    sprite.save(folder / projector.SPRITE, pnginfo=png_mark())
    (folder / projector.PBTXT).write_text(projector.config_pbtxt(tensor))
    (folder / projector.JSON).write_text(projector.config_json(tensor))
    plane = project(fit_pca(points.vectors, 2), points.vectors)
    write_parquet(folder / PARQUET, points, plane)


def remarks(tensor: projector.Tensor, dimensions: int, image_size: tuple[int, ...]) -> list[str]:
    """How the files differ from the model's embedding and the images, for people."""
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
