"""Makes the page that shows a run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flaxae.data.splits import SPLITS, Split
from flaxae.errors import InputError
from flaxae.evaluation.embedding import Embedding
from flaxae.evaluation.inspection import embed_by, reconstructions
from flaxae.evaluation.neighbors import agreement, classes_by_neighbors, neighbors_among
from flaxae.evaluation.pca import fit_pca, project, unexplained
from flaxae.evaluation.plane import Plane, lay_out
from flaxae.evaluation.representation import floats, sample_rows
from flaxae.export.outputs import PAGE, file_target, write_new
from flaxae.report.figures import scaled_down
from flaxae.report.page.about import command, config_facts, made, version_facts
from flaxae.report.page.curves import run_charts
from flaxae.report.page.examples import EXAMPLES, Examples, examples, strips
from flaxae.report.page.html import render
from flaxae.report.page.numbers import numbers, used_columns
from flaxae.report.page.points import (
    Block,
    Measure,
    PictureSet,
    Points,
    extremes,
    picture_blocks,
    points_data,
    tile_grid,
)
from flaxae.report.page.sheets import encode, plan
from flaxae.runs.pictures import epoch_pictures
from flaxae.runs.workdir import RECONSTRUCTIONS, read_dataset_info

if TYPE_CHECKING:
    from flaxae.api.run import Run

FILE = "report.html"  # in a run's folder
THUMBNAILS = 20_000
_SMALL = 2000  # points of the page at the end of training
_EPOCHS = 60  # whose examples are kept
_BATCH = 64  # images at least
_SAMPLED = 256  # pictures by which the size of all is estimated
# What a page of some points may take: 5 MB for 10,000 and 18 MB for 70,000.
_BYTES, _BYTES_PER_POINT = 2_800_000, 217
_FEWEST_RECONSTRUCTIONS = 10_000
_FITTED = 20_000  # training images that PCA is fitted to
_MOST_NUMBERS = 2**26  # pixels of which neighbors are searched in the small page

Values = dict[str, dict[str, float]]  # measure -> "embedding", "pca" and so on -> value


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
    write_new(target, make_page(run, split, images, labels, thumbnails), "--output")
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


class Looked(NamedTuple):
    """The images of a page."""

    part: Split
    name: str  # of the split, or "images"
    split_names: Sequence[str]  # of each image


def make_page(run: "Run", name: str, images: Any, labels: Any, thumbnails: int) -> bytes:
    """The whole page of a split or of images."""
    part = run._split(name, images, labels)
    sizes = {name: len(part.images)}
    if images is not None:
        name = "images"
    elif name == "all":
        sizes = {each: len(run.splits[each].images) for each in SPLITS}
    names = [each for each, size in sizes.items() for _ in range(size)]
    looked = Looked(part, name, names)
    quality = run.evaluate(images=part) if images is not None else run.evaluate(name)
    values: Values = {
        key: {"embedding": value} for key, value in quality.items() if key != "examples"
    }
    _add_pca(run, looked, values)
    if images is None:
        values |= run.evaluate_embedding(name).scores
    return _page(run, looked, values, thumbnails, small=False)


def make_small_page(run: "Run") -> bytes:
    """A page of at most 2,000 test images, without what takes longer than a second or two."""
    part = run.splits["test"].first(_SMALL)
    looked = Looked(part, "test", ["test"] * len(part.images))
    return _page(run, looked, {}, _SMALL, small=True)


def _page(run: "Run", looked: Looked, values: Values, thumbnails: int, small: bool) -> bytes:
    part, count = looked.part, len(looked.part.images)
    if count < 2:
        raise InputError(
            f"the {looked.name} split holds {count} image; a map needs 2 points or more: try "
            "--split all, or a larger dataset"
        )
    size = max(run.config.optimizer.batch_size, _BATCH)
    embedding = embed_by(run._inspect, run._state, part, size)
    plane = lay_out(embedding.vectors, umap=not small)
    neighbors = neighbors_among(embedding.vectors)
    answers = None if part.labels is None else classes_by_neighbors(neighbors, part.labels)
    if small:
        values = _quick_values(run, looked, embedding)
    elif answers is not None and "knn_accuracy" not in values:
        values["map_accuracy"] = {"embedding": float(np.mean(answers == part.labels))}
    points = Points(
        plane,
        looked.split_names,
        neighbors,
        _measures(embedding),
        part.labels,
        answers,
        part.class_names,
        part.files,
    )
    pictures = _pictures(run, part, embedding.errors, thumbnails, size)
    tiles = None
    if plane.kind == "latent":
        grid, tiles = tile_grid(plane.points)
        drawn = np.round(run.decode(grid) * 255).astype(np.uint8)
        small_ones = scaled_down(drawn, pictures[0].height, pictures[0].width)
        height, width = small_ones.shape[1:3]
        pictures.append(PictureSet("tiles", width, height, encode(small_ones), None))
    data = points_data(points, pictures, tiles)
    shown = _examples(run)
    blocks = picture_blocks(pictures)
    if shown is not None:
        losses = {line["epoch"]: line["validation_loss"] for line in run.history}
        data["examples"] = {
            "epochs": shown.epochs,
            "losses": [losses.get(epoch) for epoch in shown.epochs],
            "width": shown.width,
            "height": shown.height,
        }
        blocks.append(Block("examples-0", shown.picture))
    rows = numbers(values, run.config.objective.loss)
    return render(
        "run.html",
        {
            "title": run.workdir.name,
            "subtitle": _subtitle(run, looked),
            "sections": _sections(shown, answers is not None, run.history),
            "numbers": rows,
            "columns": used_columns(rows),
            "numbers_note": _numbers_note(looked, small),
            "examples": shown,
            "example_names": "Ten images of the test split",
            "charts": run_charts(run.history),
            "map_note": _map_note(plane, count, pictures),
            "axes": plane.axes,
            "error_map_note": (
                "Error maps show the mean difference of a pixel, in one scale for all images: "
                "yellow is half of the range or more. They are of the compressed thumbnails."
            ),
            "color_choices": _color_choices(points),
            "has_answers": answers is not None,
            "measures": points.measures,
            "command": _command(run),
            "facts": _facts(run),
            "made": made(),
            "data": data,
            "blocks": blocks,
        },
    )


def _measures(embedding: Embedding) -> list[Measure]:
    meaning = (
        "The mean squared difference between an image and its reconstruction, pixels in 0..1. "
        "Images with large errors are unlike those that the model has learned from."
    )
    return [Measure("error", "reconstruction error", meaning, embedding.errors)]


def _pictures(
    run: "Run", part: Split, errors: np.ndarray, thumbnails: int, batch_size: int
) -> list[PictureSet]:
    """Thumbnails and reconstructions, as large and as many as there is room for."""
    count = len(errors)
    rows = _chosen(errors, thumbnails)
    if not len(rows):
        return []
    first = rows[:: max(len(rows) // _SAMPLED, 1)][:_SAMPLED]
    step, state = run._inspect, run._state

    def originals(rows: np.ndarray, height: int, width: int, targets: bool = False) -> np.ndarray:
        source = part.targets if targets else part.images
        assert source is not None, "asked for only if there are targets"
        pieces = []
        for start in range(0, len(rows), batch_size):
            piece = np.asarray(source[rows[start : start + batch_size]])
            piece = piece if piece.dtype == np.uint8 else np.round(piece * 255).astype(np.uint8)
            pieces.append(scaled_down(piece, height, width))
        return np.concatenate(pieces)

    def drawn(rows: np.ndarray, height: int, width: int) -> np.ndarray:
        batches = reconstructions(step, state, part, rows, batch_size)
        return np.concatenate([scaled_down(batch, height, width) for batch in batches])

    shape = part.image_shape[:2]
    most = _BYTES + _BYTES_PER_POINT * count - _without_pictures(part)
    copies = 1 if part.targets is None else 2  # of what a reconstruction needs beside it
    least = min(len(rows), _FEWEST_RECONSTRUCTIONS) * copies
    planned = plan(originals(first, *shape), drawn(first, *shape), len(rows), least, most)
    width, height = planned.width, planned.height
    some = _chosen(errors, planned.reconstructions // copies, among=rows)
    sets = [("thumbnails", originals(rows, height, width), rows)]
    sets.append(("reconstructions", drawn(some, height, width), some))
    if part.targets is not None:
        sets.append(("targets", originals(some, height, width, targets=True), some))
    return [
        PictureSet(kind, width, height, encode(pictures), chosen) for kind, pictures, chosen in sets
    ]


def _without_pictures(part: Split) -> int:
    """Bytes of the page beside its pictures, estimated from above."""
    names = sum(map(len, part.files)) // 2 if part.files is not None else 0
    return 500_000 + 48 * len(part.images) + names


def _chosen(errors: np.ndarray, most: int, among: np.ndarray | None = None) -> np.ndarray:
    """At most so many rows: those with extreme errors, then a random sample; sorted."""
    rows = np.arange(len(errors)) if among is None else among
    if len(rows) <= most:
        return rows
    worst, best = extremes(errors)
    first = [row for pair in zip(worst, best, strict=True) for row in pair]
    first = list(dict.fromkeys(first))[:most]
    rest = np.setdiff1d(rows, first)
    return np.sort([*first, *rest[sample_rows(len(rest), most - len(first))]]).astype(np.int64)


def _quick_values(run: "Run", looked: Looked, embedding: Embedding) -> Values:
    """The numbers of the small page."""
    values: Values = {}
    mse = float(embedding.errors.mean(dtype=np.float64))
    values["mse"] = {"embedding": mse}
    values["rmse"] = {"embedding": math.sqrt(mse)}
    values["psnr"] = {"embedding": _psnr(mse)}
    pca = _add_pca(run, looked, values)
    part = looked.part
    if part.labels is not None:
        pixels = floats(_flat(part.images))
        ways = {"embedding": embedding.vectors}
        if pixels.size <= _MOST_NUMBERS:
            ways |= {"pixels": pixels} if pca is None else {"pca": pca, "pixels": pixels}
        found = {kind: agreement(vectors, part.labels) for kind, vectors in ways.items()}
        values["map_accuracy"] = {k: v for k, v in found.items() if v is not None}
    return values


def _add_pca(run: "Run", looked: Looked, values: Values) -> np.ndarray | None:
    """Adds the errors of a PCA of as many numbers, and of pixels; returns its vectors.

    A denoising run has other targets than its inputs, which PCA knows nothing of.
    """
    part, train = looked.part, run.splits["train"] if looked.name != "images" else None
    noisy = part.targets is not None or run.config.objective.noise_factor
    numbers = int(np.prod(part.image_shape))
    if train is None or noisy or numbers * min(len(train.images), _FITTED) > 2**29:
        return None
    fitted = floats(_flat(train.images[sample_rows(len(train.images), _FITTED)]))
    projection = fit_pca(fitted, run.dimensions)
    size = max(2**24 // numbers, 1)
    errors, vectors = [], []
    for first in range(0, len(part.images), size):
        piece = floats(_flat(part.images[first : first + size]))
        errors.append(unexplained(projection, piece))
        vectors.append(project(projection, piece))
    mse = float(np.concatenate(errors).mean(dtype=np.float64))
    for name, value in {"mse": mse, "rmse": math.sqrt(mse), "psnr": _psnr(mse)}.items():
        if name in values and math.isfinite(value):
            values[name]["pca"] = value
    for name in ("mse", "rmse"):
        if name in values:
            values[name]["pixels"] = 0.0
    return np.concatenate(vectors)


def _psnr(mse: float) -> float:
    return -10 * math.log10(mse) if mse > 0 else math.inf


def _flat(images: Any) -> np.ndarray:
    array = np.asarray(images)
    return array.reshape(len(array), -1)


def _examples(run: "Run") -> Examples | None:
    """The examples of the pictures that training has drawn; else those of the weights."""
    noise = run.config.objective.noise_factor
    names = ["input", *(["noisy"] if noise else []), "reconstruction"]
    pictures = epoch_pictures(run.workdir / RECONSTRUCTIONS, "the report", _EPOCHS)
    found = examples(pictures, names, run.image_shape)
    if found is None and "test" in run.splits and len(run.splits["test"].images):
        found = strips({run.epoch: run._example_rows("test", EXAMPLES)})
    return found


def _subtitle(run: "Run", looked: Looked) -> str:
    config, count = run.config, len(looked.part.images)
    what = "images" if looked.name == "images" else f"images of the {looked.name} split"
    if looked.name == "all":
        what = "images of all splits"
    return (
        f"An autoencoder ({config.model.name.replace('_', ' ')}, {run.dimensions} numbers an "
        f"image), trained on {config.data.dataset}, after epoch {run.epoch}. Shown: {count:,} {what}."
    )


def _sections(shown: Any, has_answers: bool, history: Sequence[Any]) -> dict[str, str]:
    sections = {
        "numbers": "Numbers",
        "examples": "Examples by epoch",
        "curves": "Curves",
        "points": "Map",
        "extremes": "Worst and best",
        "confusions": "Classes and neighbors",
        "histograms": "Errors",
        "config": "How it was made",
    }
    absent = {"examples": shown is None, "curves": not history, "confusions": not has_answers}
    return {name: title for name, title in sections.items() if not absent.get(name, False)}


def _numbers_note(looked: Looked, small: bool) -> str:
    if small:
        return (
            "A quick look at the first test images; python run.py report has more numbers. Bold is "
            "the best of a row."
        )
    return f"All of {'the images' if looked.name == 'images' else looked.name}. Bold is the best of a row."


def _map_note(plane: Plane, count: int, pictures: Sequence[PictureSet]) -> str:
    kinds = {
        "latent": "The two numbers of each embedding",
        "umap": "UMAP's plane of the embeddings",
        "pca": "The embeddings on the plane of their first two principal components",
    }
    by_kind = {each.kind: each.rows for each in pictures}
    remarks = []
    for kind in ("thumbnails", "reconstructions"):
        rows = by_kind.get(kind)
        if rows is None or len(rows) < count:
            number = 0 if rows is None else len(rows)
            remarks.append(f"{number:,} of {count:,} points have {kind[:-1]} pictures")
    more = f" Of the images kept in this file: {'; '.join(remarks)}." if remarks else ""
    return (
        f"{kinds[plane.kind]}. Points that are near each other are similar images to the model; "
        f"neighbors are searched among all numbers of the embedding, not on this plane.{more}"
    )


def _color_choices(points: Points) -> dict[str, str]:
    choices = {}
    if points.labels is not None:
        choices["class"] = "class"
    if points.answers is not None:
        choices["neighbors"] = "class of the neighbors, right or wrong"
    if len(set(points.splits)) > 1:
        choices["split"] = "split"
    return choices | {measure.key: measure.name for measure in points.measures}


def _command(run: "Run") -> str | None:
    from flaxae.data.sources.array import ArraySource

    return None if run.config.data.dataset == ArraySource.name else command(run.config)


def _facts(run: "Run") -> Mapping[str, Mapping[str, str]]:
    kept = read_dataset_info(run.workdir)
    sizes = kept.sizes if kept is not None else {}
    data = {
        "dataset": run.config.data.dataset,
        "images": "x".join(map(str, run.image_shape)) + " (height, width, channels)",
        "sizes": ", ".join(f"{name} {size:,}" for name, size in sizes.items()) or "unknown",
        "classes": f"{len(run.class_names):,}",
        "sha256 of pixels and labels": (kept.digest if kept is not None else None) or "unknown",
    }
    weights = {"epoch": str(run.epoch), "step": f"{run.step:,}", "seed": str(run.config.seed)}
    return {
        "Data": data,
        "Weights": weights,
        "Versions that made this page": version_facts(),
        **config_facts(run.config),
    }
