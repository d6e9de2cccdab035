import zipfile

import numpy as np
import pytest

from flaxae.data.sources import array_file
from flaxae.data.sources.array_file import find_arrays
from flaxae.data.sources.array_reading import ArrayFile
from tests.fixtures.array_files import IMAGES, LABELS, of_shape, refusal, save


def names_of(path, images_key=None, labels_key=None):
    found = find_arrays(path, images_key, labels_key)
    return {
        split: (images.member, None if labels is None else labels.member)
        for split, (images, labels) in found.items()
    }


def test_an_npy_is_all_images(tmp_path):
    path = save(tmp_path, IMAGES)
    array = ArrayFile(path, None, (7, 4, 5), np.dtype(np.uint8))
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
    assert names_of(path, None, "none") == {"all": ("images", None)}
    assert "no pictures; it has images [7, 4, 5] uint8, labels [7] int64" in refusal(
        find_arrays, path, "pictures", None
    )
    assert "--labels-key got z; expected one of images" in refusal(find_arrays, path, None, "z")


def test_unclear_images_are_refused_with_what_there_is(tmp_path):
    path = save(tmp_path, **{f"n{i}\n": IMAGES for i in range(10)})
    message = refusal(find_arrays, path, None, None)
    assert r"no or several arrays of images; it has n0\n [7, 4, 5] uint8, n1\n [7" in message
    assert message.endswith(" ...; call one of them images, or train with its name as --images-key")
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
    assert names_of(path, None, "none")["train"] == (expected["train"][0], None)
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
    assert "each of 7 images, or --labels-key none" in message


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


def test_other_members_of_a_zip_do_not_matter(tmp_path):
    path = save(tmp_path, x=IMAGES, names=np.array([{}, None], object))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "text")
    assert names_of(path) == {"all": ("x", None)}
