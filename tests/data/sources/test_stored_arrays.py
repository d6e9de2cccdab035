import numpy as np
import pytest

from flaxae.data import DataConfig
from flaxae.data.sources import open_images, open_source
from flaxae.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (90, 6, 5, 1), np.uint8)
LABELS = np.arange(90) % 3


WHAT = "are black and white what you mean?"
DARK = f"90 images are nearly black, without a value above 15 of 255; {WHAT}"


@pytest.fixture
def config(tmp_path):
    def make(name, **options):
        return DataConfig(
            dataset=str(tmp_path / name), store_dir=str(tmp_path / "store"), **options
        )

    return make


def sorted_rows(splits):
    return sorted(image.tobytes() for split in splits.values() for image in split.images)


def test_an_npy_is_read_where_it_lies(config, tmp_path):
    np.save(tmp_path / "scans.npy", IMAGES[..., 0])
    splits = open_source(config("scans.npy")).splits()
    assert sorted_rows(splits) == sorted(image.tobytes() for image in IMAGES)
    assert not (splits["train"].images.folder / "images.u8").exists()
    assert splits["train"].labels is None
    assert splits["train"].files is None


def test_bytes_stay_as_they_are_whatever_the_range(config, tmp_path):
    np.save(tmp_path / "scans.npy", IMAGES)
    np.savez(tmp_path / "scans.npz", images=IMAGES)
    for name in ("scans.npy", "scans.npz"):
        splits = open_source(config(name, range=(10.0, 100.0))).splits()
        assert sorted_rows(splits) == sorted(image.tobytes() for image in IMAGES)


def test_an_npz_has_labels_and_is_split_as_the_array_in_python(config, tmp_path):
    from flaxae.data.sources.array import ArraySource

    np.savez_compressed(tmp_path / "scans.npz", images=IMAGES, labels=LABELS)
    splits = open_source(config("scans.npz")).splits()
    expected = ArraySource(IMAGES, LABELS).splits()
    for name, split in splits.items():
        np.testing.assert_array_equal(split.images, expected[name].images)
        np.testing.assert_array_equal(split.labels, expected[name].labels)
        assert split.class_names == ("0", "1", "2")


def test_arrays_by_split_are_used_as_they_are(config, tmp_path):
    parts = {"train": slice(0, 50), "validation": slice(50, 70), "test": slice(70, 90)}
    arrays = {f"{name}_images": IMAGES[rows] for name, rows in parts.items()}
    labels = {f"{name}_labels": LABELS[rows] for name, rows in parts.items()}
    np.savez(tmp_path / "scans.npz", **arrays, **labels)
    splits = open_source(config("scans.npz")).splits()
    for name, rows in parts.items():
        np.testing.assert_array_equal(splits[name].images, IMAGES[rows])
        np.testing.assert_array_equal(splits[name].labels, LABELS[rows])


def test_keras_names_hold_validation_out_of_train(config, tmp_path):
    np.savez(
        tmp_path / "mnist.npz",
        x_train=IMAGES[:70],
        y_train=LABELS[:70],
        x_test=IMAGES[70:],
        y_test=LABELS[70:],
    )
    splits = open_source(config("mnist.npz")).splits()
    np.testing.assert_array_equal(splits["test"].images, IMAGES[70:])
    assert len(splits["train"].images) + len(splits["validation"].images) == 70
    assert len(splits["validation"].images) > 0


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (IMAGES / 255, {}, IMAGES),
        (IMAGES.astype(np.uint16) * 257, {}, IMAGES),
        (IMAGES.astype(np.uint16) * 10, {"range": (0.0, 2550.0)}, IMAGES),
        (IMAGES > 100, {}, (IMAGES > 100) * np.uint8(255)),
    ],
    ids=["floats", "16 bits", "range", "bool"],
)
def test_other_types_become_bytes(config, tmp_path, values, options, expected):
    np.save(tmp_path / "scans.npy", values)
    splits = open_source(config("scans.npy", **options)).splits()
    assert sorted_rows(splits) == sorted(image.tobytes() for image in expected)


def test_another_range_is_refused_with_the_range_that_came(config, tmp_path):
    np.save(tmp_path / "scans.npy", IMAGES * 3.0)
    with pytest.raises(InputError, match=r"scans\.npy.*765"):
        open_source(config("scans.npy")).splits()


def test_a_changed_file_is_read_again(config, tmp_path):
    np.savez(tmp_path / "scans.npz", images=IMAGES)
    first = open_source(config("scans.npz"))
    first.splits()
    np.savez(tmp_path / "scans.npz", images=255 - IMAGES)
    again = open_source(config("scans.npz"))
    assert sorted_rows(again.splits()) == sorted(image.tobytes() for image in 255 - IMAGES)
    assert first.digest() != again.digest()


def test_labels_that_do_not_fit_are_refused(config, tmp_path):
    np.savez(tmp_path / "scans.npz", images=IMAGES, labels=LABELS[:-1])
    with pytest.raises(InputError, match="89"):
        open_source(config("scans.npz")).splits()


def test_labels_of_two_kinds_are_refused(config, tmp_path):
    names = np.array(["cat", "dog"] * 10)
    arrays = {"train_images": IMAGES[:70], "test_images": IMAGES[70:]}
    np.savez(tmp_path / "scans.npz", **arrays, train_labels=LABELS[:70], test_labels=names)
    message = r"scans\.npz are names in some splits and numbers in others; expected one kind"
    with pytest.raises(InputError, match=message):
        open_source(config("scans.npz")).splits()


def test_labels_of_bytes_are_text_in_utf_8(config, tmp_path):
    names = np.array(["ä".encode(), b"b"] * 45)
    np.savez(tmp_path / "scans.npz", images=IMAGES, labels=names)
    assert open_source(config("scans.npz")).splits()["train"].class_names == ("b", "ä")
    np.savez(tmp_path / "broken.npz", images=IMAGES, labels=np.array([b"\xff", b"b"] * 45))
    with pytest.raises(InputError, match="bytes that are not UTF-8"):
        open_source(config("broken.npz")).splits()


def test_new_images_have_the_shape_of_the_run(config, tmp_path):
    np.save(tmp_path / "new.npy", IMAGES[:4])
    split = open_images(str(tmp_path / "new.npy"), config("scans.npy"), (6, 5, 1))
    np.testing.assert_array_equal(split.images, IMAGES[:4])
    with pytest.raises(InputError, match=r"new\.npy has images of 6x5x1; this run has 7x5x1"):
        open_images(str(tmp_path / "new.npy"), config("scans.npy"), (7, 5, 1))


def test_new_images_may_have_other_names_than_the_run(config, tmp_path):
    np.savez(tmp_path / "new.npz", images=IMAGES[:4], labels=LABELS[:4])
    run = config("scans.npz", images_key="scans", labels_key="kinds")
    split = open_images(str(tmp_path / "new.npz"), run, (6, 5, 1))
    np.testing.assert_array_equal(split.images, IMAGES[:4])
    assert split.labels.tolist() == LABELS[:4].tolist()
    np.savez(tmp_path / "odd.npz", images=IMAGES[:4], labels=LABELS[:3])
    run = config("scans.npz", labels_key="none")  # no labels, as in the run
    assert open_images(str(tmp_path / "odd.npz"), run, (6, 5, 1)).labels is None


def test_a_refused_file_leaves_nothing_in_the_store(config, tmp_path):
    values = IMAGES / np.float32(255)
    values[-1] = 2
    np.savez(tmp_path / "scans.npz", images=values)
    with pytest.raises(InputError, match=r"in 0\.0\.\.2\.0; expected 0\.\.1, or train"):
        open_source(config("scans.npz")).splits()
    assert [path.suffix for path in (tmp_path / "store").iterdir()] == [".lock"]


def test_other_labels_are_another_dataset(config, tmp_path):
    digests = []
    for labels in (LABELS, LABELS % 2, np.array(list("abc"))[LABELS]):
        np.savez(tmp_path / "scans.npz", images=IMAGES, labels=labels)
        digests.append(open_source(config("scans.npz")).digest())
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (IMAGES / np.float32(255), ["floats in 0..1 are rounded to 8 bits"]),
        (
            IMAGES.astype(np.uint16) << 4,
            ["90 images of 16 bits are nearly black, as of 12 bits in 16; try --range 0 4095"],
        ),
        (IMAGES.astype(np.uint16) << 8, []),
        (IMAGES, []),
        (IMAGES.astype(np.int64) % 2, [DARK]),
    ],
)
def test_what_is_done_to_all_images_is_said_once(config, tmp_path, caplog, values, said):
    np.savez(tmp_path / "scans.npz", images=values)
    for _ in range(2):
        open_source(config("scans.npz")).splits()
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (IMAGES, ["--range has no effect on images of 8 bits"]),
        (IMAGES / np.float32(2.55), [DARK]),
        (IMAGES.astype(np.uint16) << 4, []),
    ],
)
def test_a_range_that_does_not_fit_is_said(config, tmp_path, caplog, values, said):
    np.savez(tmp_path / "scans.npz", images=values)
    open_source(config("scans.npz", range=(0.0, 4095.0))).splits()
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == said
