import sys
from pathlib import Path

import numpy as np
import pytest

from flaxae.config import DataConfig
from flaxae.data import store
from flaxae.data.store import (
    ImageSet,
    epoch_order,
    evaluation_batches,
    pick_examples,
    select,
    training_batches,
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module")
def mnist_5k(data_dir):
    return store.load(DataConfig(data_dir=data_dir))


def test_mnist_5k_is_stratified_and_fixed(mnist_5k):
    sizes = {name: len(split.images) for name, split in mnist_5k.items()}
    assert sizes == {"train": 3600, "validation": 400, "test": 1000}
    for split in mnist_5k.values():
        assert split.images.shape[1:] == (28, 28, 1)
        assert split.images.dtype == np.uint8
        assert set(np.bincount(split.labels)) == {len(split.images) // 10}
        assert split.class_names[7] == "digit_7"
    assert mnist_5k["test"].images.sum(dtype=np.int64) == TEST_SUM


TEST_SUM = 26_621_066  # of all pixels: other digits, or another split, give another one


def test_splits_share_no_image(mnist_5k):
    seen = [image.tobytes() for split in mnist_5k.values() for image in split.images]
    assert len(set(seen)) == 5000


def test_the_second_start_reads_arrays_without_tfds(mnist_5k, data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "flaxae.data.sources.prepare", None)
    again = store.load(DataConfig(data_dir=data_dir))
    assert isinstance(again["train"].images, np.memmap)
    for name, split in mnist_5k.items():
        np.testing.assert_array_equal(again[name].images, split.images)
        np.testing.assert_array_equal(again[name].labels, split.labels)


@pytest.mark.parametrize("damage", ["truncated", "missing", "rebuilt"])
def test_damaged_arrays_are_decoded_anew(mnist_5k, data_dir, damage):
    (arrays,) = Path(data_dir).glob("mnist_5k/*/flaxae_arrays")
    path = arrays / "train_images.npy"
    content = path.read_bytes()
    if damage in ("truncated", "missing"):
        path.unlink()  # a new file, because `mnist_5k` has the old one mapped
    if damage == "truncated":
        path.write_bytes(content[:1000])
    if damage == "rebuilt":
        (arrays / "description.json").write_text('{"class_names": [], "source": "older"}')
    again = store.load(DataConfig(data_dir=data_dir))
    np.testing.assert_array_equal(again["train"].images, mnist_5k["train"].images)
    assert [p.name for p in arrays.parent.glob("flaxae_arrays*")] == ["flaxae_arrays"]


def test_data_dir_comes_from_the_flag_then_tfds_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "variable"))
    assert store._data_dir(DataConfig(data_dir=str(tmp_path))) == tmp_path
    assert store._data_dir(DataConfig()) == tmp_path / "variable"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store._data_dir(DataConfig()) == tmp_path / "tensorflow_datasets"


def test_order_is_a_function_of_seed_and_epoch():
    orders = [tuple(epoch_order(seed, epoch, 20)) for seed in range(2) for epoch in range(2)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert tuple(epoch_order(1, 1, 20)) == orders[3]


def numbered(count):
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def test_training_batches_are_full_and_disjoint():
    batches = list(training_batches(numbered(11), 4, seed=0, epoch=3))
    rows = np.concatenate([batch.rows for batch in batches])
    assert len(rows) == len(set(rows)) == 8
    assert all(batch.mask.all() for batch in batches)
    np.testing.assert_array_equal(np.concatenate([b.images for b in batches]).ravel(), rows)


def test_an_epoch_goes_on_where_it_stopped():
    whole = list(training_batches(numbered(11), 3, 0, 1))
    rest = list(training_batches(numbered(11), 3, 0, 1, first_step=1))
    np.testing.assert_array_equal([b.rows for b in rest], [b.rows for b in whole[1:]])


def test_evaluation_visits_every_image_once_and_masks_padding():
    batches = list(evaluation_batches(numbered(10), 4))
    assert [list(b.mask) for b in batches] == [[True] * 4, [True] * 4, [True, True, False, False]]
    assert all(b.images.shape == (4, 1, 1, 1) for b in batches)
    seen = np.concatenate([b.images[b.mask] for b in batches]).ravel()
    np.testing.assert_array_equal(seen, range(10))


def test_examples_to_look_at_are_of_every_class_in_turn():
    labels = np.array([1, 1, 0, 1, 2, 0], np.int32)
    assert pick_examples(labels, 5) == [2, 0, 4, 5, 1]
    assert pick_examples(labels, 99) == [2, 0, 4, 5, 1, 3]
    assert pick_examples(None, 3) == [0, 1, 2]


def test_all_is_the_three_splits_in_order():
    def part(*values):
        return ImageSet(
            np.array(values, np.uint8).reshape(-1, 1, 1, 1), np.array(values, np.int32), ("a",)
        )

    splits = {"test": part(4), "train": part(1, 2), "validation": part(3)}
    np.testing.assert_array_equal(select(splits, "all").images.ravel(), [1, 2, 3, 4])
    np.testing.assert_array_equal(select(splits, "all").labels, [1, 2, 3, 4])
    without = {name: split._replace(labels=None, class_names=()) for name, split in splits.items()}
    assert select(without, "all").labels is None
