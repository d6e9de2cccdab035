import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from flaxae.data.images import to_bytes
from flaxae.data.sources import array_file
from flaxae.data.sources.array_file import find_arrays, pixels_of, read_rows, read_whole
from flaxae.errors import InputError

IMAGES = np.arange(7 * 4 * 5, dtype=np.uint8).reshape(7, 4, 5)
LABELS = np.arange(7)


def save(folder, array=None, compressed=True, **arrays):
    """The path of an .npy, or of an .npz of several arrays."""
    path = folder / ("x.npz" if array is None else "x.npy")
    if array is not None:
        np.save(path, array, allow_pickle=True)
    else:
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_header(text, data=b"", version=1):
    width = 2 if version == 1 else 4
    return npy.magic(version, 0) + len(text).to_bytes(width, "little") + text.encode() + data


def of_shape(shape, data=b"", kind="|u1"):
    return with_header(f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}}}", data)


def members(path, **contents):
    """An .npz of these bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.npy", content)
    return path


def read(array, rows=None, chunk_rows=3):
    rows = np.arange(array.shape[0]) if rows is None else np.array(rows, np.int64)
    return list(read_rows(array, rows, chunk_rows))


def read_all(path):
    """Everything that is found, read."""
    for images, labels in find_arrays(path, None, None).values():
        read(images)
        if labels is not None:
            read_whole(labels)


def refusal(act, *arguments):
    """The message, which is one line."""
    with pytest.raises(InputError) as caught:
        act(*arguments)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    return str(caught.value)


# Which array is which.


def names_of(path, images_key=None, labels_key=None):
    found = find_arrays(path, images_key, labels_key)
    return {
        split: (images.member, None if labels is None else labels.member)
        for split, (images, labels) in found.items()
    }


def test_an_npy_is_all_images(tmp_path):
    path = save(tmp_path, IMAGES)
    array = array_file.ArrayFile(path, None, (7, 4, 5), np.dtype(np.uint8))
    assert find_arrays(path, None, None) == {"all": (array, None)}
    assert "is one array without a name" in refusal(find_arrays, path, "images", None)
    assert "is one array without a name" in refusal(find_arrays, path, None, "labels")


@pytest.mark.parametrize(
    ("names", "images", "labels"),
    [
        (("images", "x", "arr_0", "labels", "y"), "images", "labels"),
        (("arr_0", "x", "y"), "x", "y"),
        (("arr_0", "other"), "arr_0", None),
        (("X", "Y"), "X", "Y"),
        (("pictures", "y"), "pictures", "y"),
        (("x_test", "y_test", "labels"), "x_test", "y_test"),
    ],
)
def test_images_and_labels_are_found_by_name(tmp_path, names, images, labels):
    arrays = {n: LABELS if n.lower() in ("labels", "y", "y_test") else IMAGES for n in names}
    assert names_of(save(tmp_path, **arrays)) == {"all": (images, labels)}


def test_keys_name_other_arrays(tmp_path):
    path = save(tmp_path, images=IMAGES, labels=LABELS, noisy=IMAGES, kind=LABELS[:, None])
    assert names_of(path, "noisy", "kind") == {"all": ("noisy", "kind")}
    assert names_of(path, "noisy", None) == {"all": ("noisy", "labels")}
    assert names_of(path, None, "") == {"all": ("images", None)}
    assert "no pictures; it has images [7, 4, 5] uint8, labels [7] int64" in refusal(
        find_arrays, path, "pictures", None
    )
    assert "--labels-key got z; expected one of images" in refusal(find_arrays, path, None, "z")


def test_unclear_images_are_refused_with_what_there_is(tmp_path):
    path = save(tmp_path, **{f"n{i}\n": IMAGES for i in range(10)})
    message = refusal(find_arrays, path, None, None)
    assert r"no or several arrays of images; it has n0\n [7, 4, 5] uint8, n1\n [7" in message
    assert message.endswith("..., ...; give the name of the images as --images-key".lstrip(".,"))
    assert "it has no arrays" in refusal(find_arrays, save(tmp_path, **{}), None, None)


@pytest.mark.parametrize(
    ("form", "train", "validation"),
    [
        ("{}_images {}_labels", "train", "val"),
        ("x_{} y_{}", "train", "validation"),
        ("X_{} y_{}", "train", "valid"),
        ("{} labels_{}", "training", "validation"),
    ],
)
def test_splits_are_found_by_name(tmp_path, form, train, validation):
    arrays, expected = {}, {}
    for split, name in {"train": train, "validation": validation, "test": "test"}.items():
        images, labels = form.format(name, name).split()
        arrays |= {images: IMAGES, labels: LABELS}
        expected[split] = (images, labels)
    path = save(tmp_path, **arrays)
    assert names_of(path) == expected
    assert names_of(path, expected["test"][0]) == {"all": expected["test"]}
    assert names_of(path, None, "")["train"] == (expected["train"][0], None)
    assert "--labels-key got q, but" in refusal(find_arrays, path, None, "q")


def test_splits_may_lack_labels_and_other_splits(tmp_path):
    path = save(tmp_path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES)
    assert names_of(path) == {"train": ("x_train", "y_train"), "test": ("x_test", None)}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("train_images", "split train can be train_images or x_train"),
        ("images", "the file holds images and the split x_train"),
    ],
)
def test_two_answers_are_refused(tmp_path, other, message):
    path = save(tmp_path, x_train=IMAGES, **{other: IMAGES})
    assert message in refusal(find_arrays, path, None, None)
    assert names_of(path, other) == {"all": (other, None)}


def test_splits_of_different_sizes_are_refused(tmp_path):
    path = save(tmp_path, x_train=IMAGES, x_test=IMAGES[:, :2])
    message = refusal(find_arrays, path, None, None)
    assert "{'train': (4, 5), 'test': (2, 5)}; expected one" in message


@pytest.mark.parametrize(
    "labels",
    [LABELS[:5], np.eye(7), LABELS.astype(object), LABELS + 1j],
    ids=lambda a: str(a.dtype),
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels):
    path = tmp_path / "x.npz"
    np.savez(path, images=IMAGES, labels=labels)
    message = refusal(find_arrays, path, None, None)
    assert f"labels in {path} is [" in message
    assert "each of 7 images, or --labels-key '' for no labels" in message


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGES.astype(object), "holds Python objects, which could run code"),
        (IMAGES.astype("U3"), "is <U3; expected numbers"),
        (IMAGES * 1j, "is complex128; expected numbers"),
        (IMAGES[0], "has the shape [4, 5]; expected [N, H, W] or [N, H, W, C]: reshape it"),
        (IMAGES[None, None], "has the shape [1, 1, 7, 4, 5]; expected [N, H, W]"),
        (IMAGES[:, :0], "has the shape [7, 0, 5]; expected images with pixels"),
        (IMAGES[:0], "holds 0 images; expected 1 to 2147483647"),
        (IMAGES[:, :, :3], "has the shape [7, 4, 3], like one image in color"),
        (np.zeros((2, 3, 8, 8)), "has the shape [2, 3, 8, 8]; expected [N, H, W, C] .* transpose"),
        (np.zeros((2, 1, 8, 8)), "x.transpose(0, 2, 3, 1)"),
        (np.zeros((2, 8, 8, 4)), "4 channels, the last for transparency; .* save x[..., :3]"),
        (np.zeros((2, 8, 8, 2)), "2 channels, the last for transparency; .* save x[..., :1]"),
        (np.zeros((2, 8, 8, 5)), "expected [N, H, W, C] with 1 or 3 channels: channels last"),
        (np.asfortranarray(IMAGES), "is stored in Fortran order; .* numpy.ascontiguousarray(x)"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_arrays_that_are_no_images_are_refused(tmp_path, array, message, zipped):
    path = save(tmp_path, images=array) if zipped else save(tmp_path, array)
    found = refusal(find_arrays, path, None, None)
    for part in message.split(" .* "):
        assert part in found


# Reading.


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
    monkeypatch.setattr(array_file, "_MOST_CHUNK", 2 * 4 * 5 + 1)
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


def test_other_members_of_a_zip_do_not_matter(tmp_path):
    path = save(tmp_path, x=IMAGES, names=np.array([{}, None], object))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "text")
    assert names_of(path) == {"all": ("x", None)}


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


def test_too_many_or_too_large_images_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.npy"
    header = of_shape((2**31, 1, 1))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 2**31)  # takes no room on the disk
    assert "holds 2147483648 images; expected" in refusal(find_arrays, path, None, None)
    monkeypatch.setattr(array_file, "_MOST_IMAGE", 19)
    path = save(tmp_path, IMAGES)
    assert "holds images of 20 bytes; expected at most 19" in refusal(find_arrays, path, None, None)


def test_no_memory_is_a_refusal(tmp_path, monkeypatch):
    array, _ = find_arrays(save(tmp_path, IMAGES), None, None)["all"]

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(array_file, "_fill", fail)
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


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_bytes_are_read_or_refused(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    place = st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(place)] = data.draw(st.integers(0, 255))
    end = data.draw(st.none() | place)
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[:end])
    try:
        read_all(path)
    except InputError as error:
        message = str(error)
        if not message.isprintable():
            raise AssertionError(message) from error


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_cuts_and_flipped_bytes_are_read_or_refused(tmp_path, sample):
    content = SAMPLES[sample]
    path = tmp_path / "damaged"
    for place in range(sample, len(content), 5):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        for damaged in (flipped, content[:place]):
            path.write_bytes(damaged)
            try:
                read_all(path)
            except InputError:
                continue
            assert damaged is flipped, "a file that is cut off was read"


# Pixels.


def pixels(values, value_range=None, kind=None):
    chunk = np.array(values, kind).reshape(1, 1, -1, 1)
    return pixels_of(chunk, value_range, "images").ravel().tolist()


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("u1", [0, 7, 255], [0, 7, 255]),
        ("?", [False, True], [0, 255]),
        ("u2", [0, 255, 256, 65535], [0, 0, 1, 255]),
        ("i8", [0, 7, 255], [0, 7, 255]),
        ("u4", [0, 255], [0, 255]),
        ("f4", [0, 0.5, 0.501, 1], [0, 128, 128, 255]),
        ("f2", [0, 1], [0, 255]),
        ("f8", [-0.0, 1 / 255, 1], [0, 1, 255]),
    ],
)
def test_numbers_become_bytes(kind, values, expected):
    assert pixels(values, kind=kind) == expected


@pytest.mark.parametrize(
    ("kind", "value_range", "values", "expected"),
    [
        ("u1", (0.0, 16.0), [0, 8, 16, 17], [0, 128, 255, 255]),
        ("u2", (0.0, 4095.0), [0, 4095, 65535], [0, 255, 255]),
        ("i2", (-1000.0, 1000.0), [-2000, -1000, 0, 1000], [0, 0, 128, 255]),
        ("f4", (-1.0, 1.0), [-1, 0, 1, 2], [0, 128, 255, 255]),
        ("?", (0.0, 1.0), [False, True], [0, 255]),
        ("f8", (0.0, 1e308), [0, 1e308], [0, 255]),
    ],
)
def test_a_range_is_mapped_and_clipped(kind, value_range, values, expected):
    assert pixels(values, value_range, kind) == expected


@pytest.mark.parametrize(
    ("kind", "values", "came"),
    [
        ("i8", [0, 256], "images is int64 in 0..256; expected 0..255, or give --range"),
        ("i1", [-1, 7], "images is int8 in -1..7; expected 0..255"),
        ("f4", [0, 16], "images is float32 in 0.0..16.0; expected 0..1, or"),
        ("f8", [-0.5, 1], "images is float64 in -0.5..1.0; expected 0..1"),
        ("f8", [0, np.nan], "images is float64 in nan..nan; expected 0..1"),
        ("c8", [0], "images is complex64; expected numbers"),
        ("O", [0], "images holds Python objects"),
    ],
)
def test_numbers_out_of_range_are_refused(kind, values, came):
    assert came in refusal(pixels, values, None, kind)


def test_a_range_needs_numbers_and_an_extent():
    for value in (np.nan, np.inf):
        assert "with NaN or infinity" in refusal(pixels, [0, value], (0.0, 1.0))
    for value_range in ((1.0, 1.0), (1.0, 0.0), (0.0, np.inf), (np.nan, 1.0), (-1e308, 1e308)):
        assert "--range got" in refusal(pixels, [0], value_range)


def test_gray_images_get_a_channel():
    assert pixels_of(IMAGES, None, "images").shape == (7, 4, 5, 1)
    assert pixels_of(IMAGES[:0], None, "images").shape == (0, 4, 5, 1)
    with pytest.raises(InputError, match=r"chunk has the shape \[2, 3, 8, 8\]"):
        pixels_of(np.zeros((2, 3, 8, 8)), None, "chunk")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1))
def test_floats_are_rounded_as_those_from_python(values):
    chunk = np.array(values).reshape(1, 1, -1, 1)
    np.testing.assert_array_equal(pixels_of(chunk, None, "x"), to_bytes(chunk, "x"))


def test_damaged_truth_values_are_true():
    chunk = np.array([[[0, 1, 7]] * 2] * 2, np.uint8).view(bool)
    assert set(pixels_of(chunk[:, :, 1:], None, "x").ravel().tolist()) == {255}
