"""Writes the embedding of a run's images for the viewers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flaxae.data.file_names import printable
from flaxae.data.images import to_bytes
from flaxae.data.splits import SPLITS, Split
from flaxae.data.store.images import StoredImages
from flaxae.errors import InputError, RunError
from flaxae.export import embedding as files
from flaxae.export import projector
from flaxae.export.folder import refuse_foreign, replace_folder, resolved
from flaxae.runs.projector_link import forget_config, link_config
from flaxae.training import processes

if TYPE_CHECKING:
    from flaxae.api.run import Run


OWN_PLACE = "embedding"  # in a run's folder


class ExportedEmbedding(NamedTuple):
    """What `Run.export_embedding` has written."""

    folder: Path
    points: int
    dimensions: int  # of the embedding; two dimensions are written as three
    remarks: tuple[str, ...]  # differences between the files and the model
    logdir: Path  # what TensorBoard is given to find the export


def export_embedding(
    run: "Run",
    folder: Path,
    part: Split,
    name: str,
    parts: Mapping[str, Split],
    limit: int | None,
    overwrite: bool = False,
) -> ExportedEmbedding:
    """Embeds the first `limit` images of `part`, which is called `name`, and writes the files.

    Raises:
        InputError: the folder holds something else, or the embedding cannot be shown.
        RunError: the files cannot be written, as on a full disk.
    """
    output = resolved(folder)
    # Exports of earlier versions have no mark, but nobody else writes into the run's own place.
    marked = None if output == (run.workdir / OWN_PLACE).resolve() else projector.SPRITE
    refuse_foreign(output, files.FILES, marked, overwrite)  # before the forward passes
    split, split_names = first_images(part, name, parts, limit)
    embedding = run.embedding(images=split)
    dimensions = embedding.vectors.shape[1]
    if not processes.is_first():  # which alone writes
        return ExportedEmbedding(output, len(split.images), dimensions, (), output)
    if not isinstance(split.images, StoredImages):
        split = split._replace(images=to_bytes(split.images, "images"))  # as the viewers show them
    points = files.make_points(embedding, split, split_names)
    tensor_name = projector.tensor_name(run.config.model.name, run.config.data.dataset, name)
    tensor = files.describe(points, tensor_name)
    try:
        with replace_folder(output, files.FILES, marked, overwrite) as scratch:
            files.write_files(scratch, points, tensor)
            forget_config(run.workdir, output)
        in_workdir = link_config(run.workdir, output, tensor)
    except OSError as error:
        raise RunError(
            f"{printable(output)} could not be written ({error.strerror or error}); make room "
            "there and repeat the command, or give another --output-dir"
        ) from error
    remarks = files.remarks(tensor, dimensions, split.images.shape[1:3])
    return ExportedEmbedding(
        output, len(split.images), dimensions, tuple(remarks), run.workdir if in_workdir else output
    )


def first_images(
    whole: Split, name: str, parts: Mapping[str, Split], limit: int | None
) -> tuple[Split, list[str]]:
    """The first `limit` images of a split, and for each the name of the split that it is from.

    Raises:
        InputError: there are fewer than two.
    """
    split = whole.first(limit)
    count = len(split.images)
    if count < 2:
        raise InputError(
            f"the {name} split holds {count} image; viewers need 2 points or more: "
            "try --split all, or a larger dataset"
        )
    sizes = {part: len(parts[part].images) for part in SPLITS} if name == "all" else {name: count}
    names = [part for part, size in sizes.items() for _ in range(size)]
    return split, names[:count]
