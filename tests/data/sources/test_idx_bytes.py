"""IDX files of strangers: whatever the bytes, an array of them or one line."""

import gzip

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flaxae.data.sources import idx
from flaxae.errors import InputError
from tests.fixtures.fuzzing import damaged, fuzzed


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
SAMPLES = [
    idx_bytes(IMAGES),
    idx_bytes(IMAGES[0, 0]),
    idx_bytes(IMAGES[:0]),
    b"\0\0\x08\xff" + bytes(4 * 255),
    b"\0\0\x08\x02" + b"\xff" * 8,
    b"\0\0\x08",
    b"",
]


@fuzzed(300)
@given(damaged(SAMPLES) | st.binary(max_size=40).map(lambda rest: b"\0\0\x08" + rest))
def test_any_bytes_are_an_array_or_one_line(content):
    try:
        array = idx.parse_idx(content, "x")
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    assert content.endswith(array.tobytes())
    assert array.size == len(content) - 4 - 4 * array.ndim


@fuzzed(200)
@given(damaged([gzip.compress(each, mtime=0) for each in SAMPLES]))
def test_any_archive_is_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "archive.gz"
    path.write_bytes(content)
    try:
        idx.IdxMnist.verified("t10k-labels-idx1-ubyte", path)
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        raise AssertionError("taken for the official file")
