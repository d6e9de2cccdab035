import io

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from flaxae.data.splits import Split
from flaxae.evaluation.embedding import Embedding
from flaxae.export.embedding import FILES, describe, make_points, remarks, write_files
from flaxae.export.projector import Sprite, Tensor
from tests.fixtures.exports import SIX, check_export


def test_large_images_and_many_points_are_said():
    said = remarks(Tensor("t", 100_001, 8, Sprite(317, 25, 25)), 8, (28, 28))
    assert len(said) == 2
    assert "scaled down from 28x28 to 25x25" in said[0]
    assert "the first 100,000 of the 100,001" in said[1]
    assert remarks(Tensor("t", 100_000, 8, Sprite(317, 12, 28)), 8, (28, 12)) == []


def test_images_too_large_for_a_sprite_are_scaled_down(tmp_path):
    images = np.zeros((2, 5000, 10, 3), np.uint8)
    images[1] = (9, 99, 199)
    split = Split(images, None, ())
    embedding = Embedding(np.eye(2, 3, dtype=np.float32), np.ones(2, np.float32))
    points = make_points(embedding, split, ["test", "test"])
    write_files(tmp_path, points, describe(points, "name"))
    cells = check_export(tmp_path, 2, 3)
    assert cells[1].shape == (4096, 8, 3)
    np.testing.assert_array_equal(cells[1][2000, 4], (9, 99, 199))
    picture = pq.read_table(tmp_path / "embedding.parquet")["image"][1].as_py()
    assert Image.open(io.BytesIO(picture["bytes"])).size == (10, 5000)


def test_an_export_has_six_files():
    assert set(FILES) == SIX
