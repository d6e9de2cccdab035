import numpy as np
import pytest

from flaxae.data.splits import Split, pick_examples, select
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
