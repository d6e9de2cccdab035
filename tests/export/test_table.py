import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from flaxae.data.class_names import display_names
from flaxae.export.table import Points, write_metadata, write_parquet, write_vectors
from tests.fixtures.viewer_rules import default_label, read_metadata, read_vectors

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def some_points(count=5, dimensions=3, labeled=True, channels=1, class_names=("zero", "one")):
    rng = np.random.default_rng(count)
    return Points(
        vectors=rng.normal(size=(count, dimensions)).astype(np.float32),
        errors=rng.random(count, np.float32),
        images=rng.integers(0, 256, (count, 4, 6, channels), np.uint8),
        labels=rng.integers(0, len(class_names), count).astype(np.int32) if labeled else None,
        class_names=class_names if labeled else (),
        splits=["train"] * (count - 1) + ["test"],
    )


def write_tables(folder, points):
    plane = np.arange(2 * len(points.vectors), dtype=np.float32).reshape(-1, 2)
    write_vectors(folder / "vectors.tsv", points)
    write_metadata(folder / "metadata.tsv", points)
    write_parquet(folder / "embedding.parquet", points, plane)
    return plane


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(2, 9), st.integers(3, 6)), elements=finite),
)
def test_vectors_are_read_back_exactly(vectors):
    count = len(vectors)
    points = some_points(count)._replace(vectors=vectors)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.tsv"
        write_vectors(path, points)
        np.testing.assert_array_equal(read_vectors(path).view(np.int32), vectors.view(np.int32))


def test_numbers_have_the_shortest_text(tmp_path):
    vectors = np.array([[0.1, -2.0, 1 / 3], [1e-7, 1e20, 16777216]], np.float32)
    write_vectors(tmp_path / "v", some_points(2)._replace(vectors=vectors))
    assert (tmp_path / "v").read_text() == "0.1\t-2\t0.33333334\n1e-7\t1e+20\t16777216\n"


class_names = st.lists(st.text(max_size=6), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.integers(3, 5), class_names, st.booleans(), st.sampled_from([1, 3]))
def test_parquet_matches_the_text_files(count, dimensions, names, labeled, channels):
    points = some_points(count, dimensions, labeled, channels, display_names(names))
    with tempfile.TemporaryDirectory() as folder:
        plane = write_tables(Path(folder), points)
        vectors = read_vectors(Path(folder) / "vectors.tsv")
        header, rows = read_metadata(Path(folder) / "metadata.tsv")
        table = pq.read_table(Path(folder) / "embedding.parquet")
    assert len(rows) == len(vectors) == table.num_rows == count
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), vectors)
    text = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    assert table["id"].to_pylist() == [int(cell) for cell in text["index"]] == list(range(count))
    errors = np.array(text["reconstruction_error"], np.float32)
    np.testing.assert_array_equal(table["reconstruction_error"], errors)
    np.testing.assert_array_equal(errors, points.errors)
    if labeled:
        assert header == ["index", "label", "class", "reconstruction_error"]
        assert default_label(header, rows) == "class"
        assert table["label"].to_pylist() == [int(cell) for cell in text["label"]]
        assert table["class"].to_pylist() == text["class"]
        assert text["class"] == [points.class_names[label] for label in points.labels]
    else:
        assert header == ["index", "reconstruction_error"]
        assert table["label"].null_count == table["class"].null_count == count
    assert table["split"].to_pylist() == points.splits
    np.testing.assert_array_equal(np.stack([table["pca_x"], table["pca_y"]], 1), plane)
    for picture, image in zip(table["image"].to_pylist(), points.images, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(picture["bytes"])))
        np.testing.assert_array_equal(pixels.reshape(image.shape), image)


@pytest.mark.parametrize("labeled", [True, False])
def test_parquet_schema(tmp_path, labeled):
    write_tables(tmp_path, some_points(labeled=labeled))
    schema = pq.read_schema(tmp_path / "embedding.parquet")
    assert schema.names == [
        "id",
        "label",
        "class",
        "split",
        "reconstruction_error",
        "vector",
        "image",
        "pca_x",
        "pca_y",
    ]
    assert schema.field("id").type == pa.int64()
    assert schema.field("reconstruction_error").type == pa.float32()
    assert schema.field("vector").type.value_type == pa.float32()
    assert {field.name: field.type for field in schema.field("image").type} == {
        "bytes": pa.binary(),
        "path": pa.string(),
    }


def test_tables_larger_than_a_batch_and_a_browser_chunk(tmp_path):
    """The file is larger than a chunk of the browser, and 9,000 rows are more than a batch."""
    points = some_points(9_000, 24)
    write_tables(tmp_path, points)
    assert (tmp_path / "vectors.tsv").stat().st_size > 2_000_000
    np.testing.assert_array_equal(read_vectors(tmp_path / "vectors.tsv"), points.vectors)
    _, rows = read_metadata(tmp_path / "metadata.tsv")
    assert [int(row[0]) for row in rows] == list(range(9_000))
    table = pq.read_table(tmp_path / "embedding.parquet", columns=["id", "vector", "image"])
    assert table["id"].to_pylist() == list(range(9_000))
    vectors = np.array(table["vector"].combine_chunks().flatten()).reshape(9_000, 24)
    np.testing.assert_array_equal(vectors, points.vectors)
    assert len({picture["path"] for picture in table["image"].to_pylist()}) == 9_000


def test_quotes_in_class_names_are_not_escaped(tmp_path):
    points = some_points(4, class_names=('a "quoted" name', "it's, here"))
    write_metadata(tmp_path / "m", points)
    _, rows = read_metadata(tmp_path / "m")
    assert {row[2] for row in rows} <= {'a "quoted" name', "it's, here"}


def test_images_of_two_channels_are_written_as_their_mean(tmp_path):
    points = some_points(3, channels=2)
    write_tables(tmp_path, points)
    picture = pq.read_table(tmp_path / "embedding.parquet")["image"][1].as_py()
    pixels = np.asarray(Image.open(io.BytesIO(picture["bytes"])))[..., 0]
    np.testing.assert_array_equal(pixels, points.images[1].mean(-1).round())
