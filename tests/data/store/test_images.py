import copy
import gc
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from flaxae.data.store import images as reading
from flaxae.data.store.images import Checksums, ImageFile, StoredImages, block_rows, checksums
from flaxae.errors import RunError

IMAGES = np.random.default_rng(0).integers(0, 256, (3000, 7, 6, 1), np.uint8)


@pytest.fixture(params=["mapped", "row by row", "in place"])
def file(request, tmp_path, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(reading, "available_memory", lambda: 1000)
    path = tmp_path / "images.u8"
    path.write_bytes(b"header" + IMAGES.tobytes())
    folder = tmp_path if request.param != "in place" else tmp_path / "entry"
    return ImageFile(folder, path, IMAGES.shape, 6, checksums(path, IMAGES.shape, 6))


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
        (..., 0),
        (..., 2, slice(None), slice(None), 0),
        (None, 5),
        ...,
        None,
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


def test_a_copy_and_a_pickle_open_the_file_themselves(file):
    pickled = pickle.dumps(StoredImages(file, ROWS))
    assert len(pickled) < 20_000  # the images are not in it
    for other in (pickle.loads(pickled), copy.deepcopy(StoredImages(file, ROWS))):
        assert other._file._descriptor != file._descriptor
        np.testing.assert_array_equal(other, IMAGES[ROWS])
    del other
    np.testing.assert_array_equal(StoredImages(file, ROWS), IMAGES[ROWS])


SCRIPT = """
import sys
from pathlib import Path
from flaxae.data.store import images
path, shape = Path(sys.argv[1]), (10, 2, 3, 1)
file = images.ImageFile(path.parent, path, shape, 0, images.checksums(path, shape, 0))
sys.kept = images, sys.modules["__main__"]  # as JAX keeps what compiled functions refer to
"""


def test_a_script_that_ends_with_an_open_file_says_nothing(tmp_path):
    (tmp_path / "images.u8").write_bytes(bytes(60))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "images.u8")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_a_file_that_nothing_refers_to_is_closed(tmp_path):
    path, shape = tmp_path / "images.u8", (10, 2, 3, 1)
    path.write_bytes(bytes(60))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    file = ImageFile(tmp_path, path, shape, 0, checksums(path, shape, 0))
    assert len(os.listdir("/proc/self/fd")) > before
    del file
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_part_and_a_join_are_views(file):
    images = StoredImages(file, ROWS)
    parts = [images.part(slice(10)), images.part(np.array([50, 40]))]
    joined = StoredImages.join(parts)
    np.testing.assert_array_equal(joined, IMAGES[ROWS][[*range(10), 50, 40]])


def test_images_of_two_files_are_not_joined(file, tmp_path):
    sums = checksums(file.path, IMAGES.shape, 6)
    other = ImageFile(tmp_path, file.path, IMAGES.shape, 6, sums)
    assert StoredImages.join([StoredImages(f, ROWS) for f in (file, other)]) is None


def test_blocks_are_of_64_kib():
    assert block_rows((3000, 7, 6, 1)) == 65536 // 42
    assert block_rows((3, 1000, 1000, 3)) == 1


@pytest.mark.parametrize("size", [1, 700, 1560, 2999])
def test_checksums_are_those_of_zlib_however_the_images_come(size):
    found, rows = Checksums(IMAGES.shape), block_rows(IMAGES.shape)
    for first in range(0, 3000, size):
        assert found.values() is None
        found.add(IMAGES[first : first + size])
    expected = [zlib.crc32(IMAGES[i : i + rows].tobytes()) for i in range(0, 3000, rows)]
    assert found.values().tolist() == expected


@pytest.mark.parametrize("folder", [".", "entry"], ids=["mapped", "in place"])
@pytest.mark.parametrize("size", [0, 5000, IMAGES.nbytes - 1])
def test_a_file_that_is_cut_off_while_it_is_open_is_an_error_and_no_signal(tmp_path, folder, size):
    path = tmp_path / "scans.u8"
    path.write_bytes(IMAGES.tobytes())
    sums = checksums(path, IMAGES.shape, 0)
    images = StoredImages(ImageFile(tmp_path / folder, path, IMAGES.shape, 0, sums), ROWS)
    assert np.array_equal(images[:5], IMAGES[ROWS[:5]])
    os.truncate(path, size)
    with pytest.raises(RunError, match=r"scans\.u8 was cut off while it was read"):
        images[:5]
