import sys

import numpy as np
import pytest

from flaxae.data import DataConfig
from flaxae.data.sources import tfds
from flaxae.data.store.images import StoredImages


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module")
def mnist_5k(data_dir):
    return tfds.load(DataConfig(data_dir=data_dir))


def test_mnist_5k_is_stratified_and_fixed(mnist_5k):
    sizes = {name: len(split.images) for name, split in mnist_5k.items()}
    assert sizes == {"train": 3600, "validation": 400, "test": 1000}
    for split in mnist_5k.values():
        assert split.images.shape[1:] == (28, 28, 1)
        assert split.images.dtype == np.uint8
        assert set(np.bincount(split.labels)) == {len(split.images) // 10}
        assert split.class_names[7] == "digit_7"
    assert np.asarray(mnist_5k["test"].images).sum(dtype=np.int64) == TEST_SUM


TEST_SUM = 26_621_066  # of all pixels: other digits, or another split, give another one


def test_splits_share_no_image(mnist_5k):
    seen = [image.tobytes() for split in mnist_5k.values() for image in split.images]
    assert len(set(seen)) == 5000


def test_the_second_start_reads_arrays_without_tfds(mnist_5k, data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "flaxae.data.sources.prepare", None)
    again = tfds.load(DataConfig(data_dir=data_dir))
    assert isinstance(again["train"].images, StoredImages)
    for name, split in mnist_5k.items():
        np.testing.assert_array_equal(again[name].images, split.images)
        np.testing.assert_array_equal(again[name].labels, split.labels)


@pytest.mark.parametrize("damage", ["truncated", "missing", "rebuilt"])
def test_a_damaged_entry_is_decoded_anew(mnist_5k, data_dir, damage):
    folder = mnist_5k["train"].images.folder
    path = folder / "rows.npy"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "missing":
        (folder / "images.u8").unlink()  # `mnist_5k` has it mapped
    if damage == "rebuilt":
        (folder / "description.json").write_text('{"version": 1, "fingerprint": "older"}')
    again = tfds.load(DataConfig(data_dir=data_dir))
    np.testing.assert_array_equal(again["train"].images, mnist_5k["train"].images)
    assert not [p for p in folder.parent.iterdir() if p.suffix in (".partial", ".old")]


def test_data_dir_comes_from_the_flag_then_tfds_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "variable"))
    assert tfds._data_dir(DataConfig(data_dir=str(tmp_path))) == tmp_path
    assert tfds._data_dir(DataConfig()) == tmp_path / "variable"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tfds._data_dir(DataConfig()) == tmp_path / "tensorflow_datasets"
