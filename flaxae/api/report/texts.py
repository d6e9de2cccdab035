"""What a page says in words of a run and its map."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flaxae.data.sources.array import ArraySource
from flaxae.evaluation.plane import Plane
from flaxae.report.page.about import command, config_facts, version_facts
from flaxae.report.page.points import PictureSet
from flaxae.runs.workdir import read_dataset_info

if TYPE_CHECKING:
    from flaxae.api.run import Run

ERROR = (
    "The mean squared difference between an image and its reconstruction, pixels in 0..1. "
    "Images with large errors are unlike those that the model has learned from."
)
ERROR_MAPS = (
    "Error maps show the mean difference of a pixel, in one scale for all images: yellow is half "
    "of the range or more. They are of the compressed thumbnails."
)
_QUICK = "A quick look at the first test images; python run.py report has more numbers."
_BEST = "Bold is the best of a row."
# Of a run that was trained with noise, in the small page and in the whole one.
_WITHOUT_NOISE = "All numbers are of inputs without noise."
_WITH_NOISE = (
    "Reconstructions are of inputs with the noise of training, embeddings of inputs without it."
)
_PLANES = {
    "latent": "The two numbers of each embedding",
    "umap": "UMAP's plane of the embeddings",
    "pca": "The embeddings on the plane of their first two principal components",
}


def subtitle(run: "Run", shown: str, count: int, dimensions: int) -> str:
    """What the page is of; `shown` is a split or "images"."""
    words = {"images": "images", "all": "images of all splits"}
    what = words.get(shown, f"images of the {shown} split")
    return (
        f"An autoencoder ({run.config.model.name.replace('_', ' ')}, {dimensions} numbers an "
        f"image), trained on {run.config.data.dataset}, after epoch {run.epoch}. "
        f"Shown: {count:,} {what}."
    )


def sections(absent: Mapping[str, bool]) -> dict[str, str]:
    """The headings of the sections that are there."""
    every = {
        "numbers": "Numbers",
        "examples": "Examples by epoch",
        "curves": "Curves",
        "points": "Map",
        "extremes": "Worst and best",
        "confusions": "Classes and neighbors",
        "histograms": "Errors and scores",
        "config": "How it was made",
    }
    return {name: title for name, title in every.items() if not absent.get(name, False)}


def numbers_note(small: bool, noise_factor: float) -> str:
    """What the numbers of the small or the whole page are of."""
    remarks = [_QUICK, _BEST] if small else [_BEST]
    if noise_factor:
        remarks.append(_WITHOUT_NOISE if small else _WITH_NOISE)
    return " ".join(remarks)


def map_note(plane: Plane, count: int, pictures: Sequence[PictureSet]) -> str:
    """What the map shows, and which pictures are lacking."""
    kept = {each.kind: len(each.rows) for each in pictures if each.rows is not None}
    remarks = [
        f"{kept.get(f'{kind}s', 0):,} of {count:,} points have a {kind}"
        for kind in ("thumbnail", "reconstruction")
        if kept.get(f"{kind}s", 0) < count
    ]
    more = f" For the size of this file, {' and '.join(remarks)}." if remarks else ""
    near = "Points that are near each other are similar images to the model"
    if plane.kind != "latent":
        near += "; neighbors are searched among all numbers of the embedding, not on this plane"
    return f"{_PLANES[plane.kind]}. {near}.{more}"


def training_command(run: "Run") -> str | None:
    """None if the images came from Python."""
    return None if run.config.data.dataset == ArraySource.name else command(run.config)


def facts(run: "Run") -> dict[str, dict[str, str]]:
    """Data, weights, versions and config."""
    kept = read_dataset_info(run.workdir)
    sizes, digest = ({}, None) if kept is None else (kept.sizes, kept.digest)
    data = {
        "dataset": run.config.data.dataset,
        "images": "x".join(map(str, run.image_shape)) + " (height, width, channels)",
        "sizes": ", ".join(f"{name} {size:,}" for name, size in sizes.items()) or "unknown",
        "classes": f"{len(run.class_names):,}",
        "sha256 of pixels and labels": digest or "none is known",
    }
    weights = {"epoch": str(run.epoch), "step": f"{run.step:,}", "seed": str(run.config.seed)}
    return {
        "Data": data,
        "Weights": weights,
        "Versions that made this page": version_facts(),
        **config_facts(run.config),
    }
