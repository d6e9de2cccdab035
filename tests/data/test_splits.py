import numpy as np
import pytest

from flaxae.data.splits import (
    Split,
    in_classes,
    keep_classes,
    limit_training,
    pick_examples,
    select,
)
from flaxae.errors import InputError


def part(*values):
    images = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    return Split(images, np.array(values, np.int32), ("a",), 100 + images)


SPLITS = {"test": part(4), "train": part(1, 2), "validation": part(3)}


def test_examples_to_draw_are_of_every_class_in_turn():
    labels = np.array([1, 1, 0, 1, 2, 0], np.int32)
    assert pick_examples(labels, 5) == [2, 0, 4, 5, 1]
    assert pick_examples(labels, 99) == [2, 0, 4, 5, 1, 3]
    assert pick_examples(None, 3) == [0, 1, 2]


def test_all_is_the_three_splits_in_order():
    everything = select(SPLITS, "all")
    np.testing.assert_array_equal(everything.images.ravel(), [1, 2, 3, 4])
    np.testing.assert_array_equal(everything.labels, [1, 2, 3, 4])
    np.testing.assert_array_equal(everything.targets.ravel(), [101, 102, 103, 104])
    assert everything.class_names == ("a",)
    without = {
        name: split._replace(labels=None, class_names=(), targets=None)
        for name, split in SPLITS.items()
    }
    assert select(without, "all").labels is None
    assert select(without, "all").targets is None


def test_only_the_training_split_is_limited_to_its_first_images():
    splits = {**SPLITS, "train": part(5, 3, 9, 1)}
    limited = limit_training(splits, 3)
    train = limited["train"]
    assert train.images.ravel().tolist() == [5, 3, 9]
    assert train.labels.tolist() == [5, 3, 9]
    assert train.targets.ravel().tolist() == [105, 103, 109]
    assert train.class_names == ("a",)
    assert list(limited) == list(splits)
    assert limited["validation"] is SPLITS["validation"]
    assert limited["test"] is SPLITS["test"]
    assert len(splits["train"].images) == 4, "what was given stays as it was"


def test_a_limit_needs_no_labels_and_no_targets():
    bare = {**SPLITS, "train": Split(part(1, 2, 3).images)}
    limited = limit_training(bare, 2)["train"]
    assert limited.images.ravel().tolist() == [1, 2]
    assert (limited.labels, limited.targets) == (None, None)


@pytest.mark.parametrize("limit", [None, 2, 3, 10**12])
def test_a_limit_that_is_no_less_than_the_split_changes_nothing(limit):
    assert limit_training(SPLITS, limit)["train"] is SPLITS["train"]


def test_without_a_training_split_nothing_is_limited():
    validation = {"validation": SPLITS["validation"]}
    assert limit_training(validation, 1) == validation


def test_one_split_is_selected_by_name():
    assert select(SPLITS, "validation") is SPLITS["validation"]


def test_an_unknown_split_is_refused():
    with pytest.raises(
        InputError, match=r"split got 'dev'; expected one of test, train, validation, all"
    ):
        select(SPLITS, "dev")


def test_the_shape_of_the_images():
    assert Split(np.zeros((2, 5, 4, 3), np.uint8)).image_shape == (5, 4, 3)


def test_gathered_images_are_in_the_order_of_the_rows():
    assert SPLITS["train"].gather(np.array([1, 0, 1], np.int32)).ravel().tolist() == [2, 1, 2]


def labeled(*labels):
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    files = tuple(f"{label}.png" for label in labels)
    return Split(images, np.array(labels, np.int32), ("cat", "dog", "0"), 100 + images, files)


OF_CLASSES = {
    "train": labeled(0, 1, 2, 1),
    "validation": labeled(2, 1),
    "test": labeled(0, 1, 2),
}


def test_one_class_is_kept_in_train_and_validation_and_test_stays_whole():
    for word in ("dog", "1"):
        kept = keep_classes(OF_CLASSES, (word,))
        train = kept["train"]
        assert train.images.ravel().tolist() == [1, 3]
        assert train.targets.ravel().tolist() == [101, 103]
        assert train.files == ("1.png", "1.png")
        assert train.class_names == ("cat", "dog", "0")
        assert kept["validation"].images.ravel().tolist() == [1]
        assert kept["test"] is OF_CLASSES["test"]
        assert list(kept) == list(OF_CLASSES)
    assert keep_classes(OF_CLASSES, ()) is OF_CLASSES


def test_a_name_wins_over_a_number_and_several_classes_are_one_set():
    assert in_classes(labeled(0, 1, 2), ("0",), "--x").tolist() == [False, False, True]
    assert in_classes(labeled(0, 1, 2), ("dog", "0"), "--x").tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("splits", "classes", "message"),
    [
        (OF_CLASSES, ("dgo",), "--classes got dgo; expected names or .*cat, dog, 0; did you mean"),
        (OF_CLASSES, ("3",), "--classes got 3; expected names or numbers of classes among cat"),
        (OF_CLASSES, ("-1",), "--classes got -1; expected"),
        (OF_CLASSES, ("cat",), "--classes got cat; the split validation has no image of that"),
        (
            {"train": Split(part(1).images), "validation": Split(part(1).images)},
            ("1",),
            "--classes got 1, and the images have no labels",
        ),
    ],
)
def test_classes_that_are_not_there_are_refused(splits, classes, message):
    with pytest.raises(InputError, match=message):
        keep_classes(splits, classes)
