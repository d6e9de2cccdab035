"""Writes the text and Parquet tables of an embedding with Arrow, in batches of rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from jaxtyping import Float32, Int, UInt8

from flaxae.data.file_names import ascii_name, escaped
from flaxae.data.store.images import StoredImages
from flaxae.export.pictures import png_bytes

ROWS = 4096  # of a batch, to bound memory, and of a Parquet row group


class Points(NamedTuple):
    """The points to export."""

    vectors: Float32[np.ndarray, "points dimensions"]  # finite, of at least 3 dimensions
    errors: Float32[np.ndarray, " points"]  # reconstruction MSE, for pixels in 0..1
    images: UInt8[np.ndarray, "points height width channels"] | StoredImages
    labels: Int[np.ndarray, " points"] | None
    class_names: tuple[str, ...]  # display names; empty without labels
    splits: Sequence[str]  # the name of each point's split
    files: Sequence[str] | None = None  # where each image comes from


def write_vectors(path: Path, points: Points) -> None:
    """Writes tab-separated vectors, one line per point, without a header.

    Each number has the shortest text that gives the same float32.
    """
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    names = [str(dimension) for dimension in range(points.vectors.shape[1])]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pyarrow.csv.CSVWriter(path, schema, write_options=options) as writer:
        for rows in _batches(points):
            columns = np.ascontiguousarray(points.vectors[rows].T)
            writer.write_batch(pa.record_batch([pa.array(c) for c in columns], schema=schema))


def write_metadata(path: Path, points: Points) -> None:
    """Writes a header, then index, label, class, reconstruction error and file of each point.

    Without labels, label and class are left out, and file where images have none. The lines are
    joined here because the projector does not parse quotes, which Arrow's CSV writer would add.
    """
    with open(path, "wb") as file:
        labeled = points.labels is not None
        names = ["index", *(("label", "class") if labeled else ()), "reconstruction_error"]
        header = names if points.files is None else [*names, "file"]
        file.write("\t".join(header).encode("ascii") + b"\n")
        for rows in _batches(points):
            columns = [pa.array(np.arange(rows.start, rows.stop)), *_label_columns(points, rows)]
            columns = [*(columns if labeled else columns[:1]), pa.array(points.errors[rows])]
            if points.files is not None:
                columns.append(pa.array([ascii_name(name) for name in points.files[rows]]))
            texts = [column.cast(pa.string()) for column in columns]
            lines = pc.binary_join_element_wise(*texts, "\t")
            file.write(("\n".join(lines.to_pylist()) + "\n").encode("ascii"))


def write_parquet(path: Path, points: Points, plane: Float32[np.ndarray, "points 2"]) -> None:
    """Writes one row per point, with its vector, its image as PNG and its coordinates `plane`."""
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("label", pa.int64()),
            ("class", pa.string()),
            ("split", pa.string()),
            ("reconstruction_error", pa.float32()),
            ("vector", pa.list_(pa.float32())),
            # The image format of Hugging Face's datasets library, which viewers also read.
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("pca_x", pa.float32()),
            ("pca_y", pa.float32()),
        ]
    )
    if points.files is not None:
        schema = schema.append(pa.field("file", pa.string()))
    with pq.ParquetWriter(path, schema) as writer:
        for rows in _batches(points):
            columns = [
                pa.array(np.arange(rows.start, rows.stop)),
                *_label_columns(points, rows),
                pa.array(points.splits[rows]),
                pa.array(points.errors[rows]),
                _lists(points.vectors[rows]),
                image_column(points.images[rows], rows.start),
                *(pa.array(np.ascontiguousarray(axis)) for axis in plane[rows].T),
            ]
            if points.files is not None:
                columns.append(pa.array([escaped(name) for name in points.files[rows]]))
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _batches(points: Points) -> Iterator[slice]:
    count = len(points.vectors)
    for first in range(0, count, ROWS):
        yield slice(first, min(first + ROWS, count))


def _label_columns(points: Points, rows: slice) -> tuple[pa.Array, pa.Array]:
    if points.labels is None:
        count = rows.stop - rows.start
        return pa.nulls(count, pa.int64()), pa.nulls(count, pa.string())
    labels = pa.array(points.labels[rows], pa.int64())
    return labels, pa.array(points.class_names, pa.string()).take(labels)


def _lists(vectors: Float32[np.ndarray, "rows dimensions"]) -> pa.Array:
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.reshape(-1)))


def image_column(images: UInt8[np.ndarray, "rows height width channels"], first: int) -> pa.Array:
    """PNG files of the images, which are the rows from `first` on, as viewers read them."""
    pictures = [png_bytes(image) for image in images]
    paths = [f"{first + row}.png" for row in range(len(images))]
    return pa.StructArray.from_arrays(
        [pa.array(pictures, pa.binary()), pa.array(paths)], names=["bytes", "path"]
    )
