"""The files of scored images: a table as CSV and Parquet, pictures, and arrays on request."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int, UInt8

from flaxae.data.file_names import ascii_name, escaped, picture_name
from flaxae.data.images import to_bytes
from flaxae.data.splits import Split
from flaxae.export.folder import Extras
from flaxae.export.outputs import encoded, png_mark
from flaxae.export.table import ROWS, image_column
from flaxae.report.score_pictures import Oddity, oddity_grid, oddity_picture

CSV, PARQUET, WORST, NPZ, MAPS = "scores.csv", "scores.parquet", "worst.png", "scores.npz", "maps"
FILES = (CSV, PARQUET, WORST)
EXTRAS = Extras(files=(NPZ,), folders=(MAPS,))
COLUMNS = ("file", "label", "score", "threshold", "anomaly", "rank")
_WORST = 32  # images of worst.png

# Images in memory -> reconstructions in 0..1, and error maps in the pixel range 0..1
Compare = Callable[
    [np.ndarray],
    tuple[Float32[np.ndarray, "images height width _"], Float32[np.ndarray, "images height width"]],
]


class Scored(NamedTuple):
    """Images with their scores."""

    split: Split
    score: str  # its name
    values: Float32[np.ndarray, " images"]
    threshold: float | None
    anomalies: Bool[np.ndarray, " images"] | None
    ranks: Int[np.ndarray, " images"]
    every: dict[str, Float32[np.ndarray, " images"]]  # of all scores, by name
    plane: Float32[np.ndarray, "images 2"]  # coordinates to draw the images at
    scale: float  # error that gets the brightest color


def write_csv(path: Path, scored: Scored) -> None:
    """Writes the columns file, label, score, threshold, anomaly and rank, a line an image.

    The file of an image that is not from one is its row. Cells that are not known are empty.
    """
    limit = "" if scored.threshold is None else _text(scored.threshold)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        names, labels = _files(scored), _labels(scored.split)
        for row, (name, value) in enumerate(zip(names, scored.values, strict=True)):
            anomaly = "" if scored.anomalies is None else str(bool(scored.anomalies[row])).lower()
            label = labels[row] or ""
            writer.writerow([name, label, _text(value), limit, anomaly, int(scored.ranks[row])])


def write_parquet(path: Path, scored: Scored) -> None:
    """Writes one row an image: what the CSV has, every score, the image as PNG, and coordinates."""
    known = {
        "id": pa.array(np.arange(len(scored.values))),
        "file": pa.array(_files(scored)),
        "label": pa.array(_labels(scored.split), pa.string()),
        "score": pa.array(scored.values),
        "threshold": pa.array([scored.threshold] * len(scored.values), pa.float32()),
        "anomaly": pa.array(scored.anomalies) if scored.anomalies is not None else None,
        "rank": pa.array(scored.ranks),
        **{name: pa.array(values) for name, values in scored.every.items()},
        "pca_x": pa.array(np.ascontiguousarray(scored.plane[:, 0])),
        "pca_y": pa.array(np.ascontiguousarray(scored.plane[:, 1])),
    }
    if known["anomaly"] is None:
        known["anomaly"] = pa.nulls(len(scored.values), pa.bool_())
    table = pa.table(known)
    schema = table.schema.append(
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    )
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(scored.values), ROWS):
            part = table.slice(first, ROWS)
            pictures = image_column(_pixels(scored.split, slice(first, first + ROWS)), first)
            writer.write_table(part.append_column(schema.field("image"), pictures))


def write_pictures(folder: Path, scored: Scored, compare: Compare, maps: int, size: int) -> None:
    """Writes worst.png, and the error maps of the first `maps` images by rank."""
    order = np.argsort(scored.ranks)
    worst = list(_oddities(scored, compare, order[:_WORST], size))
    title = f"the {len(worst)} highest of {len(order):,} scores ({scored.score})"
    title += ": image, reconstruction, error; red: an anomaly"
    picture = oddity_grid([oddity for _, oddity in worst], scored.scale, title)
    (folder / WORST).write_bytes(encoded(picture, "PNG"))
    if maps:
        (folder / MAPS).mkdir()
    names = scored.split.files or [None] * len(order)
    for row, oddity in _oddities(scored, compare, order[:maps], size):
        path = folder / MAPS / picture_name(row, names[row])
        drawn = oddity_picture(oddity, scored.scale)
        # Not as small as possible, which would take longer than all the rest.
        drawn.save(path, "PNG", compress_level=3, pnginfo=png_mark())


def write_arrays(
    path: Path, scored: Scored, maps: Float32[np.ndarray, "images height width"]
) -> None:
    """Writes every score by name, and `maps` in the pixel range 0..1."""
    np.savez(path, allow_pickle=False, maps=maps, **scored.every)


def _oddities(
    scored: Scored, compare: Compare, rows: Int[np.ndarray, " some"], size: int
) -> Iterator[tuple[int, Oddity]]:
    """What is drawn of these images, a batch in memory at a time."""
    files = _files(scored)
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        images = scored.split.images[part]
        pixels, errors = compare(images)
        drawn = np.round(pixels * 255).astype(np.uint8)
        shown = to_bytes(images, "images")
        for row, image, pixels, error in zip(part.tolist(), shown, drawn, errors, strict=True):
            anomaly = scored.anomalies is not None and bool(scored.anomalies[row])
            text = f"{scored.ranks[row]}.  {scored.values[row]:.3g}  {ascii_name(files[row])}"
            yield row, Oddity(image, pixels, error, text, anomaly)


def _pixels(split: Split, key: slice) -> UInt8[np.ndarray, "rows height width channels"]:
    return to_bytes(split.images[key], "images")


def _files(scored: Scored) -> list[str]:
    """Where each image comes from, on one line; its row if that is unknown."""
    if scored.split.files is None:
        return [str(row) for row in range(len(scored.values))]
    return [escaped(name) for name in scored.split.files]


def _labels(split: Split) -> list[str | None]:
    if split.labels is None:
        return [None] * len(split.images)
    return [escaped(split.class_names[label]) for label in split.labels]


def _text(value: float | np.floating) -> str:
    """The shortest text that gives the same float32."""
    return str(np.float32(value))
