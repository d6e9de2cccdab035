import numpy as np
import pytest

from flaxae.data.store import images as reading
from flaxae.data.store.images import ImageFile, StoredImages, block_rows, checksums

IMAGES = np.random.default_rng(0).integers(0, 256, (3000, 7, 6, 1), np.uint8)


@pytest.fixture(params=["mapped", "row by row"])
def file(request, tmp_path, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(reading, "available_memory", lambda: 1000)
    path = tmp_path / "images.u8"
    path.write_bytes(b"header" + IMAGES.tobytes())
    return ImageFile(path, IMAGES.shape, 6, checksums(IMAGES))


ROWS = np.random.default_rng(1).permutation(3000)[:700]


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        slice(5, 90),
        slice(None, None, -7),
        np.array([600, 3, 3, -2]),
        np.arange(700) % 2 == 0,
        (slice(0, 9), slice(None), slice(1, 3)),
        (4, 2),
    ],
    ids=str,
)
def test_rows_are_those_of_the_array(file, key):
    images = StoredImages(file, ROWS)
    np.testing.assert_array_equal(images[key], IMAGES[ROWS][key])


def test_shape_length_and_bytes(file):
    images = StoredImages(file, ROWS)
    assert images.shape == (700, 7, 6, 1)
    assert len(images) == 700
    assert images.nbytes == 700 * 42
    np.testing.assert_array_equal(np.asarray(images), IMAGES[ROWS])


def test_a_part_and_a_join_are_views(file):
    images = StoredImages(file, ROWS)
    parts = [images.part(slice(10)), images.part(np.array([50, 40]))]
    joined = StoredImages.join(parts)
    np.testing.assert_array_equal(joined, IMAGES[ROWS][[*range(10), 50, 40]])


def test_images_of_two_files_are_not_joined(file, tmp_path):
    other = ImageFile(file.path, IMAGES.shape, 6, checksums(IMAGES))
    assert StoredImages.join([StoredImages(f, ROWS) for f in (file, other)]) is None


def test_blocks_are_of_64_kib():
    assert block_rows((3000, 7, 6, 1)) == 65536 // 42
    assert block_rows((3, 1000, 1000, 3)) == 1
    assert len(checksums(IMAGES)) == -(-3000 // (65536 // 42))
