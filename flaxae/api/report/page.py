"""Makes the page that shows a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flaxae.api.report import texts
from flaxae.api.report.pictures import BATCH, make_pictures, make_tiles
from flaxae.api.report.values import Values, quick_values, whole_values
from flaxae.data.splits import SPLITS, Split, select
from flaxae.errors import InputError
from flaxae.evaluation.embedding import Embedding
from flaxae.evaluation.inspection import embed_by
from flaxae.evaluation.neighbors import classes_by_neighbors, neighbors_among
from flaxae.evaluation.plane import lay_out
from flaxae.evaluation.scoring import SCORES
from flaxae.export.outputs import PAGE, file_target, write_new
from flaxae.report.page.about import made
from flaxae.report.page.curves import run_charts
from flaxae.report.page.examples import EXAMPLES, Examples, examples, strips
from flaxae.report.page.html import render
from flaxae.report.page.numbers import numbers, used_columns
from flaxae.report.page.points import Block, Measure, Points, picture_blocks, points_data
from flaxae.runs.pictures import epoch_pictures
from flaxae.runs.workdir import RECONSTRUCTIONS, read_dataset_info

if TYPE_CHECKING:
    from flaxae.api.run import Run

FILE = "report.html"  # in a run's folder
_SMALL = 2000  # points of the page at the end of training
_EPOCHS = 60  # whose examples are kept


def write_report(
    run: "Run",
    path: str | Path | None,
    split: str,
    images: Any,
    labels: Any,
    thumbnails: int,
    overwrite: bool,
) -> Path:
    """Writes the page of a split or of images; see `Run.report`."""
    target = report_target(run.workdir, path, overwrite=overwrite)  # before the forward passes
    write_new(target, whole_page(run, split, images, labels, thumbnails), "--output")
    return target


def report_target(folder: Path, path: str | Path | None, *, overwrite: bool) -> Path:
    """Where a page is written: `path`, or report.html in the run's folder.

    Raises:
        InputError: it cannot be written, or a file of somebody else is there.
    """
    return file_target(
        folder / FILE if path is None else path,
        "--output",
        overwrite=overwrite,
        own_place=path is None,
        suffixes=(PAGE,),
    )


def whole_page(run: "Run", split: str, images: Any, labels: Any, thumbnails: int) -> bytes:
    """The page of a split or of images, with all numbers."""
    part = run._split(split, images, labels)
    _require_points(part, split if images is None else "images")
    if images is not None:
        values = whole_values(run, part, None)
        return _page(run, part, "images", ["images"] * len(part.images), values, thumbnails)
    parts = SPLITS if split == "all" else (split,)
    names = [name for name in parts for _ in range(len(run.splits[name].images))]
    values = whole_values(run, part, split)
    return _page(run, part, split, names, values, thumbnails)


def small_page(run: "Run") -> bytes:
    """A page of at most 2,000 test images, without what takes longer than a second or two."""
    part = run.splits["test"].first(_SMALL)
    _require_points(part, "test")
    return _page(run, part, "test", ["test"] * len(part.images), None, _SMALL)


def _require_points(part: Split, name: str) -> None:
    count = len(part.images)
    if count < 2:
        raise InputError(
            f"the {name} split holds {count} image; a map needs 2 points or more: try --split "
            "all, or a larger dataset"
        )


def _page(
    run: "Run",
    part: Split,
    shown: str,
    split_names: Sequence[str],
    values: Values | None,
    thumbnails: int,
) -> bytes:
    """`values` is None for the small page; `shown` is a split or "images"."""
    small = values is None
    size = max(run.config.optimizer.batch_size, BATCH)
    embedding = embed_by(run.programs.inspect, run.programs.state, part, size)
    plane = lay_out(embedding.vectors, umap=not small)
    neighbors = neighbors_among(embedding.vectors)
    answers = None if part.labels is None else classes_by_neighbors(neighbors, part.labels)
    if values is None:
        values = quick_values(run, part, embedding)
    elif answers is not None and "knn_accuracy" not in values:
        values["map_accuracy"] = {"embedding": float(np.mean(answers == part.labels))}
    points = Points(
        plane,
        split_names,
        neighbors,
        _measures(run, part, embedding, small),
        part.labels,
        answers,
        part.class_names,
        part.files,
    )
    pictures = make_pictures(run, part, embedding.errors, thumbnails, size)
    place = None
    if plane.kind == "latent" and pictures:
        tiles, place = make_tiles(run, plane, pictures[0].height, pictures[0].width)
        pictures.append(tiles)
    data = points_data(points, pictures, place)
    drawn = _examples(run)
    blocks = picture_blocks(pictures)
    if drawn is not None:
        data["examples"] = _examples_data(run, drawn)
        blocks.append(Block("examples-0", drawn.picture))
    rows = numbers(values, run.config.objective.loss)
    absent = {"examples": drawn is None, "curves": not run.history, "confusions": answers is None}
    return render(
        "run.html",
        {
            "title": run.workdir.name,
            "subtitle": texts.subtitle(run, shown, *embedding.vectors.shape),
            "sections": texts.sections(absent),
            "numbers": rows,
            "columns": used_columns(rows),
            "numbers_note": texts.numbers_note(small, run.config.objective.noise_factor),
            "examples": drawn,
            "charts": run_charts(run.history),
            "map_note": texts.map_note(plane, len(part.images), pictures),
            "axes": plane.axes,
            "error_map_note": texts.ERROR_MAPS,
            "color_choices": _color_choices(points),
            "has_answers": answers is not None,
            "measures": points.measures,
            "command": texts.training_command(run),
            "facts": texts.facts(run),
            "made": made(),
            "data": data,
            "blocks": blocks,
        },
    )


def _measures(run: "Run", part: Split, embedding: Embedding, small: bool) -> list[Measure]:
    """The reconstruction error; in the whole page also the score, with the run's threshold."""
    error = Measure("error", "reconstruction error", texts.ERROR, embedding.errors)
    if small:
        return [error]
    try:
        scores = run.score(part)
    except InputError:  # the run's own images, which say what is normal, cannot be read
        return [error]
    meaning = f"{SCORES[scores.score].meaning}, in {scores.unit}. Higher is odder."
    name = f"score ({scores.score.replace('_', ' ')})"
    found = Measure("score", name, meaning, scores.values, scores.threshold.value)
    return [error, found]


def _examples(run: "Run") -> Examples | None:
    """The examples of the pictures that training has drawn; else those of the weights."""
    noise = run.config.objective.noise_factor
    names = ["input", *(["noisy"] if noise else []), "reconstruction"]
    pictures = epoch_pictures(run.workdir / RECONSTRUCTIONS, "the report", _EPOCHS)
    found = examples(pictures, names, run.image_shape, min(_test_images(run), EXAMPLES))
    if found is not None:
        return found
    try:
        test = select(run.splits, "test")
    except InputError:  # the run's own images cannot be read
        return None
    if not len(test.images):
        return None
    return strips({run.epoch: run.programs.example_rows(test, EXAMPLES)})


def _test_images(run: "Run") -> int:
    """How many images the test split has, without reading them."""
    kept = read_dataset_info(run.workdir)
    return len(run.splits["test"].images) if kept is None else kept.sizes.get("test", 0)


def _examples_data(run: "Run", drawn: Examples) -> dict[str, Any]:
    losses = {line["epoch"]: line["validation_loss"] for line in run.history}
    return {
        "epochs": drawn.epochs,
        "losses": [losses.get(epoch) for epoch in drawn.epochs],
        "width": drawn.width,
        "height": drawn.height,
    }


def _color_choices(points: Points) -> dict[str, str]:
    choices = {}
    if points.labels is not None:
        choices["class"] = "class"
    if points.answers is not None:
        choices["neighbors"] = "class of the neighbors, right or wrong"
    if len(set(points.splits)) > 1:
        choices["split"] = "split"
    return choices | {measure.key: measure.name for measure in points.measures}
