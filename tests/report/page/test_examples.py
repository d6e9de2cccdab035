import base64
import io

import numpy as np
import pytest
from PIL import Image

from flaxae.report.figures import reconstruction_grid
from flaxae.report.page.examples import examples

NAMES = ["input", "reconstruction"]


@pytest.mark.parametrize("shape", [(8, 12, 3), (28, 28, 1), (70, 90, 1)])
def test_examples_are_cut_out_of_the_pictures(shape):
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (2, 10, 1, 1, 1))
    rows = {
        n: np.broadcast_to(v, (10, *shape)).astype(np.uint8)
        for n, v in zip(NAMES, levels, strict=True)
    }
    long = "a title that is wider than a picture of two " * 20
    pictures = {7: reconstruction_grid(rows, long), 3: reconstruction_grid(rows, "short")}
    found = examples(pictures, NAMES, shape, 10)
    assert found.epochs == [3, 7]
    assert [*found.inputs] == ["input"]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.picture))).convert("L"))
    assert drawn.shape == (2 * found.height, found.width)
    width = found.width // 10
    for place in range(10):
        middle = drawn[found.height // 2, place * width + width // 2]
        assert abs(int(middle) - levels[1, place].item()) < 12


def test_a_picture_of_another_layout_is_left_out():
    rows = {name: np.zeros((10, 8, 8, 1), np.uint8) for name in (*NAMES, "noisy")}
    assert examples({1: reconstruction_grid(rows, "")}, NAMES, (8, 8, 1), 10) is None
    assert examples({1: Image.new("RGB", (3, 3))}, NAMES, (8, 8, 1), 10) is None


@pytest.mark.parametrize(("count", "shape"), [(1, (28, 28, 1)), (4, (64, 16, 3))])
def test_the_room_for_a_title_is_no_example(count, shape):
    rows = {name: np.zeros((count, *shape), np.uint8) for name in NAMES}
    picture = reconstruction_grid(rows, "epoch 7, validation loss 0.1234, and more of a title")
    found = examples({7: picture}, NAMES, shape, count)
    assert found.images == count
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.picture))).convert("L"))
    assert drawn.shape == (found.height, found.width) == (shape[0], count * shape[1])
    assert drawn.max() < 9  # paper is white
    assert examples({7: picture}, NAMES, shape, 99) is None  # more than there is room for
