import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy

from flaxae.data.sources import array_reading
from flaxae.data.sources.array_file import find_arrays
from flaxae.data.sources.array_reading import read_rows, read_whole
from flaxae.errors import InputError
from tests.fixtures.array_files import (
    IMAGES,
    LABELS,
    members,
    npy_bytes,
    of_shape,
    refusal,
    save,
    with_header,
)
from tests.fixtures.fuzzing import damaged, fuzzed


def read(array, rows=None, chunk_rows=3):
    rows = np.arange(array.shape[0]) if rows is None else np.array(rows, np.int64)
    return list(read_rows(array, rows, chunk_rows))


def read_all(path):
    """Everything that is found, read."""
    for images, labels in find_arrays(path, None, None).values():
        read(images)
        if labels is not None:
            read_whole(labels)


def read_or_refused(path):
    """Reads everything, unless it is refused with one line of text."""
    try:
        read_all(path)
    except InputError as error:
        message = str(error)
        if not message.isprintable():
            raise AssertionError(message) from error


@pytest.mark.parametrize("form", ["npy", "stored", "deflated"])
def test_rows_come_in_chunks(tmp_path, form):
    images = np.arange(9 * 4 * 5 * 3, dtype=np.float32).reshape(9, 4, 5, 3)
    path = (
        save(tmp_path, images)
        if form == "npy"
        else save(tmp_path, None, form != "stored", x=images)
    )
    array, _ = find_arrays(path, None, None)["all"]
    chunks = read(array)
    assert [len(chunk) for chunk in chunks] == [3, 3, 3]
    np.testing.assert_array_equal(np.concatenate(chunks), images)
    for rows in ([0], [8], [1, 2, 5, 7, 8], [0, 3, 4, 6]):
        np.testing.assert_array_equal(np.concatenate(read(array, rows)), images[rows])
    assert read(array, []) == []
    np.testing.assert_array_equal(read_whole(array), images)


@pytest.mark.parametrize("rows", [[1, 0], [1, 1], [-1], [7]])
def test_rows_must_ascend_within_the_array(tmp_path, rows):
    array, _ = find_arrays(save(tmp_path, IMAGES), None, None)["all"]
    with pytest.raises(ValueError, match=r"rows must ascend in 0\.\.6"):
        read(array, rows)


def test_chunks_are_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(array_reading, "_MOST_CHUNK", 2 * 4 * 5 + 1)
    array, _ = find_arrays(save(tmp_path, IMAGES), None, None)["all"]
    assert [len(chunk) for chunk in read(array, chunk_rows=10**9)] == [2, 2, 2, 1]


def test_a_member_is_not_unpacked_as_a_whole(tmp_path):
    path = save(tmp_path, x=np.zeros((1000, 100, 100), np.uint8))
    array, _ = find_arrays(path, None, None)["all"]
    tracemalloc.start()
    try:
        for _chunk in read_rows(array, np.array([10, 900]), 1):
            pass
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_both_byte_orders_become_native(tmp_path):
    path = save(tmp_path, x=IMAGES.astype(">f4"), y=np.array(list("äbcdefg"), ">U2"))
    images, labels = find_arrays(path, None, None)["all"]
    (chunk,) = read(images, chunk_rows=7)
    assert chunk.dtype.isnative
    np.testing.assert_array_equal(chunk, IMAGES)
    assert labels is not None
    assert read_whole(labels).tolist() == list("äbcdefg")


def test_headers_of_all_versions_are_read(tmp_path):
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (7, 4, 5)}\n"
    for version in (1, 2, 3):
        path = tmp_path / "x.npy"
        path.write_bytes(with_header(text, IMAGES.tobytes(), version))
        np.testing.assert_array_equal(
            np.concatenate(read(find_arrays(path, None, None)["all"][0])), IMAGES
        )
    path.write_bytes(with_header(text.replace("7,", "7L,"), IMAGES.tobytes()))  # of Python 2
    assert find_arrays(path, None, None)["all"][0].shape == (7, 4, 5)


def test_the_size_of_labels_is_limited(tmp_path):
    _, labels = find_arrays(save(tmp_path, x=IMAGES, y=LABELS), None, None)["all"]
    assert labels is not None
    assert read_whole(labels, 56).tolist() == LABELS.tolist()
    message = refusal(read_whole, labels, 55)
    assert message.startswith("y in ")
    assert message.endswith("takes 56 bytes; expected at most 55")


# Files that cannot be used.


def test_what_is_no_file_of_arrays_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "empty.npy").touch()
    for name, message in {
        "none.npy": "cannot be read (No such file or directory); expected an .npy or .npz file",
        "loop.npy": "symbolic links",
        "pipe.npy": "is no regular file",
        "": "is no regular file",
        "text.npy": "is neither .npy nor .npz",
        "empty.npy": "is neither .npy nor .npz",
        "a\0\n": "null",
    }.items():
        assert message in refusal(find_arrays, tmp_path / name, None, None)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def deny(*arguments):
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path, IMAGES)
    monkeypatch.setattr("builtins.open", deny)  # root may read every file
    assert "cannot be read (Permission denied)" in refusal(find_arrays, path, None, None)


HEADERS = {
    "too short": (
        of_shape((7, 4, 6), IMAGES.tobytes()),
        "says 168 bytes of values, and it holds 140",
    ),
    "too long": (
        of_shape((7, 4, 4), IMAGES.tobytes()),
        "says 112 bytes of values, and it holds 140",
    ),
    "billions": (of_shape((2**40, 9, 9)), "and it holds 0"),
    "negative": (of_shape((-1, 4, 5), IMAGES.tobytes()), "shape in its header is impossible"),
    "beyond": (of_shape((0, 2**63, 5)), "shape in its header is impossible"),
    "hex": (of_shape(f"(0x{'f' * 9000},)"), "shape in its header is impossible"),
    "many": (of_shape((1,) * 40, b"x"), "shape in its header is impossible"),
    "no bytes": (of_shape((7,), kind="|S0"), "its values have no bytes"),
    "nested": (with_header("(" * 9000), "its header cannot be parsed"),
    "descr": (with_header("{'descr': [()], 'fortran_order': False, 'shape': (1,)}"), "be parsed"),
    "dictionary": (with_header("[]"), "its header cannot be parsed"),
    "huge header": (npy.magic(2, 0) + b"\xff" * 4, "a header of 4294967295 bytes"),
    "version": (npy.magic(9, 0) + b"\0" * 99, "version (9, 0) of the format is unknown"),
    "magic": (npy.MAGIC_PREFIX, "magic string"),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_headers_are_refused_before_reading(tmp_path, name, zipped):
    content, message = HEADERS[name]
    path = tmp_path / "x"
    if zipped:
        members(path, images=content)
    else:
        path.write_bytes(content)
    assert message in refusal(find_arrays, path, None, None)


def test_no_memory_is_a_refusal(tmp_path, monkeypatch):
    array, _ = find_arrays(save(tmp_path, IMAGES), None, None)["all"]

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(array_reading, "_fill", fail)
    assert "does not fit into memory" in refusal(read, array)


def test_a_wrong_checksum_is_refused_whichever_rows_are_read(tmp_path):
    images = np.zeros((50, 40, 40), np.uint8)
    images[40] = 7
    path = save(tmp_path, None, False, x=images)
    content = path.read_bytes()
    place = content.index(b"\7" * 9)
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    array, _ = find_arrays(path, None, None)["all"]
    for rows in ([0], [49], None):
        assert "Bad CRC-32" in refusal(read, array, rows)
    assert "Bad CRC-32" in refusal(read_whole, array)


def test_a_truncated_member_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 40), np.uint8)
    path = save(tmp_path, x=noise)
    content = path.read_bytes()
    array, _ = find_arrays(path, None, None)["all"]
    path.write_bytes(content[:40_000])
    assert "not a zip file" in refusal(read, array)
    damaged = content[:40_000] + bytes(1000) + content[41_000:]
    path.write_bytes(damaged)
    assert "cannot be used (" in refusal(read, array)


def test_encrypted_and_foreign_archives_are_refused(tmp_path):
    path = save(tmp_path, x=IMAGES)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "(it is encrypted)" in refusal(find_arrays, path, None, None)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", npy_bytes(IMAGES))
    assert "compressed by method 14" in refusal(find_arrays, path, None, None)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_a_name_are_refused(tmp_path):
    path = save(tmp_path, x=IMAGES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", npy_bytes(IMAGES))
    assert "two arrays are named x" in refusal(find_arrays, path, None, None)


def test_a_file_that_changed_is_refused(tmp_path):
    array, labels = find_arrays(save(tmp_path, x=IMAGES, y=LABELS), None, None)["all"]
    assert labels is not None
    save(tmp_path, x=IMAGES[:, :2])
    assert "(it has changed)" in refusal(read, array)
    assert "(it no longer holds y)" in refusal(read_whole, labels)
    array.path.write_bytes(npy_bytes(IMAGES))
    assert "(it has changed)" in refusal(read, array)


def test_labels_that_are_no_text_are_refused(tmp_path):
    data = np.full(7, 0x110000, np.uint32).tobytes()
    path = members(tmp_path / "x.npz", x=npy_bytes(IMAGES), y=of_shape((7,), data, "<U1"))
    _, labels = find_arrays(path, None, None)["all"]
    assert "it holds no text" in refusal(read_whole, labels)


SAMPLES = [
    npy_bytes(IMAGES),
    npy_bytes(np.zeros((3, 2, 2, 3), ">f8")),
    (lambda s: (np.savez(s, x=IMAGES, y=LABELS), s.getvalue())[1])(io.BytesIO()),
    (
        lambda s: (
            np.savez_compressed(s, x_train=IMAGES, y_train=LABELS.astype(str)),
            s.getvalue(),
        )[1]
    )(io.BytesIO()),
]


MEMBERS = [npy_bytes(a) for a in (IMAGES, LABELS, LABELS.astype(str), IMAGES.astype(">f4"))]


@fuzzed(100)
@given(st.data())
def test_damaged_bytes_are_read_or_refused(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    place = st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(place)] = data.draw(st.integers(0, 255))
    end = data.draw(st.none() | place)
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[:end])
    read_or_refused(path)


@fuzzed(150)
@given(damaged(MEMBERS), damaged(MEMBERS))
def test_damaged_members_with_a_right_checksum_are_read_or_refused(tmp_path_factory, x, y):
    path = members(tmp_path_factory.getbasetemp() / "damaged.npz", x=x, y=y)
    read_or_refused(path)


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_cuts_and_flipped_bytes_are_read_or_refused(tmp_path, sample):
    content = SAMPLES[sample]
    path = tmp_path / "damaged"
    for place in range(sample, len(content), 5):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        for changed in (flipped, content[:place]):
            path.write_bytes(changed)
            try:
                read_all(path)
            except InputError:
                continue
            assert changed is flipped, "a file that is cut off was read"
