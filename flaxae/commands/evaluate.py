"""The command `evaluate`."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flaxae.commands.options import RunOptions
from flaxae.training import ProcessesConfig

if TYPE_CHECKING:
    from flaxae.api.run import Run


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, ProcessesConfig):
    """Print how well a trained model reconstructs a split; the last line is one JSON object."""


def run(options: Options) -> int:
    """Prints the quality of a split's reconstructions and of its embedding."""
    from flaxae.commands.opened import open_for
    from flaxae.data.sources import open_images
    from flaxae.report.terminal import say, show_quality
    from flaxae.training.processes import is_first

    trained = open_for(options)
    images = None
    if options.images is not None:
        images = open_images(options.images, trained.config.data, trained.image_shape)
    quality = trained.evaluate(options.split, images=images)
    if not is_first():
        # Takes part in the embeddings that process 0 computes below, in their order.
        for name in ("train", options.split, options.split) if options.images is None else ():
            trained.embedding(name)
        return 0
    title = f"{options.title}, after epoch {trained.epoch}"
    show_quality(title, trained.config.objective.loss, quality)
    embedding = None if options.images else _show_embedding(trained, options.split)
    dead = None
    if quality["examples"] > 1:  # one image tells nothing of a unit
        dead = trained.dead_units(options.split, images=images)
        say(f"dead units  {sum(dead.values())}, of hidden layers")
    where = {"split": options.what, "epoch": trained.epoch, "step": trained.step}
    say(json.dumps(where | quality | {"dead_units": dead, "embedding": embedding}))
    return 0


def _show_embedding(trained: "Run", split: str) -> dict[str, Any]:
    """Prints and draws the quality of a split's embedding; returns it for JSON."""
    import numpy as np

    from flaxae.data.atomic import write_atomically
    from flaxae.data.class_names import display_names
    from flaxae.data.splits import select
    from flaxae.evaluation.pca import principal_plane
    from flaxae.report.plots import draw_confusion, draw_embedding
    from flaxae.report.terminal import say, show_embedding_quality
    from flaxae.runs.disk_faults import reason, warn
    from flaxae.runs.workdir import EVALUATION

    quality = trained.evaluate_embedding(split)
    names = trained.class_names
    drawn = display_names(names)  # a font may lack other characters
    folder = trained.workdir / EVALUATION / split
    plane, shares = principal_plane(trained.embedding(split).vectors)
    labels = select(trained.splits, split).labels if split in ("validation", "test") else None
    pictures = {"embedding.png": draw_embedding(plane, shares, labels, drawn)}
    if quality.confusion is not None:
        pictures["confusion.png"] = draw_confusion(np.array(quality.confusion), drawn)
    show_embedding_quality(quality, names, unseen=split in ("validation", "test"))
    written: str | None = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            write_atomically(folder / name, picture)
        say(f"pictures  {folder}")
    except OSError as error:  # the numbers are what was asked for
        warn(f"no pictures in {folder}: {reason(error)}")
        written = None
    return quality._asdict() | {"class_names": names, "pictures": written}
