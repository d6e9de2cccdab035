import gzip
import hashlib
import io
import socket
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from flaxae.data import DataConfig
from flaxae.data.sources import idx, open_source, prepare
from flaxae.data.sources import tfds as named
from flaxae.errors import InputError

BUILDERS = (idx.IdxMnist, idx.IdxFashionMnist, idx.IdxKmnist)
NAMES = [name for pair in idx.FILES.values() for name in pair]


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


@pytest.fixture
def small_idx(tmp_path, monkeypatch):
    """A folder with 5,020 training and 10 test images that are accepted as Fashion-MNIST."""
    rng = np.random.default_rng(0)
    folder, checksums = tmp_path / "idx", {}
    folder.mkdir()
    for (images, labels), count in zip(idx.FILES.values(), (5_020, 10), strict=True):
        shapes = {images: (count, 28, 28), labels: (count,)}
        for name, shape in shapes.items():
            content = idx_bytes(rng.integers(0, 10, shape, np.uint8))
            (folder / name).write_bytes(content)
            checksums[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(idx.IdxFashionMnist, "data_sha256", checksums)
    return folder


def load(tmp_path, name="fashion_mnist", manual_dir=None):
    manual_dir = None if manual_dir is None else str(manual_dir)
    return named.load(
        DataConfig(dataset=name, data_dir=str(tmp_path / "datasets"), manual_dir=manual_dir)
    )


@pytest.mark.parametrize("gzipped", [False, True])
def test_idx_files_are_read_from_manual_dir(small_idx, tmp_path, gzipped):
    raw = np.frombuffer((small_idx / NAMES[0]).read_bytes()[16:], np.uint8).reshape(-1, 28, 28, 1)
    if gzipped:
        for path in list(small_idx.iterdir()):
            (small_idx / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    splits = load(tmp_path, manual_dir=small_idx)
    assert {k: len(v.images) for k, v in splits.items()} == {
        "train": 20,
        "validation": 5000,
        "test": 10,
    }
    assert splits["train"].class_names[9] == "Ankle boot"
    # Compared as sets, because TFDS shuffles the examples.
    assert {i.tobytes() for i in splits["train"].images} == {i.tobytes() for i in raw[:20]}


def test_a_file_with_a_wrong_checksum_is_refused(small_idx, tmp_path):
    content = bytearray((small_idx / NAMES[1]).read_bytes())
    content[100] ^= 1
    (small_idx / NAMES[1]).write_bytes(content)
    with pytest.raises(InputError, match=r"is not fashion_mnist's train-labels.*download"):
        load(tmp_path, manual_dir=small_idx)


def test_a_damaged_gzip_archive_is_refused(small_idx, tmp_path):
    archive = gzip.compress((small_idx / NAMES[0]).read_bytes())
    (small_idx / f"{NAMES[0]}.gz").write_bytes(archive[: len(archive) // 2])
    with pytest.raises(InputError, match="is a damaged gzip archive"):
        load(tmp_path, manual_dir=small_idx)


def test_the_error_names_a_missing_file(small_idx, tmp_path):
    (small_idx / NAMES[3]).unlink()
    with pytest.raises(InputError, match="lacks t10k-labels-idx1-ubyte"):
        load(tmp_path, manual_dir=small_idx)


def test_the_error_names_an_empty_folder(tmp_path):
    with pytest.raises(
        InputError, match=r"--manual-dir .*/none holds no IDX file; put train-images"
    ):
        load(tmp_path, manual_dir=tmp_path / "none")


def test_the_error_without_network_tells_which_files_are_needed(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(InputError, match=r"cannot be reached; put train-images.*mnist_5k, which"):
        load(tmp_path, "kmnist")


def test_a_connection_without_answer_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_CONNECT_SECONDS", 0.2)

    def hang(*args, **kwargs):
        time.sleep(1)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", hang)
    with pytest.raises(InputError, match="cannot be reached"):
        load(tmp_path, "mnist")


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("name", NAMES)
def test_tfds_has_a_url_and_checksum_of_every_archive(builder, name):
    assert builder.url(name).endswith(f"/{name}.gz")
    assert len(builder.archive_sha256(name)) == 64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        idx_bytes(np.zeros((2, 2), np.uint8))[:-1],
        b"\0\0\x0d\x01" + (1).to_bytes(4, "big") + bytes(4),  # floats
        idx_bytes(np.zeros(3, np.uint8)) + b"?",
    ],
)
def test_invalid_idx_files_are_refused(content):
    with pytest.raises(InputError, match="labels is no IDX file of bytes"):
        idx.parse_idx(content, "labels")


def test_an_unknown_dataset_is_refused(tmp_path):
    with pytest.raises(
        InputError,
        match=r"got nonsense, which is no file or folder here, and no dataset of flaxae .* or TFDS",
    ):
        load(tmp_path, "nonsense")


def test_an_option_of_files_says_that_the_folder_does_not_exist():
    with pytest.raises(InputError, match="photoz is no file or folder here, so it is taken for a"):
        open_source(DataConfig(dataset="photoz", image_size=(8, 8)))


def test_the_error_for_an_unprepared_dataset_tells_how_to_prepare_it(tmp_path):
    with pytest.raises(
        InputError, match=r"cifar10 is not prepared in .*pip install tensorflow-cpu"
    ):
        load(tmp_path, "cifar10")


class Foreign(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """40 PNG images of 5x4 pixels in each split; tests override the class attributes."""

    name = "foreign"
    VERSION = tfds.core.Version("1.0.0")
    shape = (5, 4, 3)
    first_shape = shape
    splits = ("train", "test")
    label = tfds.features.ClassLabel(names=["red", "blue"])

    def _info(self):
        features = {"id": np.int64, "photo": tfds.features.Image(shape=self.shape)}
        features |= {"kind": self.label} if self.label else {}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {name: self.examples() for name in self.splits}

    def _generate_examples(self):
        raise NotImplementedError

    def examples(self):
        for row in range(40):
            pixels = np.full((5, 4, 3) if row else self.first_shape, row, np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            example = {"id": row, "photo": buffer.getvalue()}
            yield row, example | ({"kind": row % 2} if self.label else {})


def prepare_foreign(tmp_path, monkeypatch, **attributes):
    kind = type("Foreign", (Foreign,), attributes | {"name": "foreign"}, skip_registration=True)
    tfds.disable_progress_bar()
    builder = kind(data_dir=tmp_path / "datasets", file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return load(tmp_path, "foreign")


def test_a_prepared_tfds_dataset_is_read(tmp_path, monkeypatch):
    splits = prepare_foreign(tmp_path, monkeypatch)
    assert {k: len(v.images) for k, v in splits.items()} == {
        "train": 36,
        "validation": 4,
        "test": 40,
    }
    train = splits["train"]
    assert train.images.shape[1:] == (5, 4, 3)
    assert train.class_names == ("red", "blue")
    np.testing.assert_array_equal(train.images[:, 0, 0, 0] % 2, train.labels)


def test_a_dataset_without_labels_is_read(tmp_path, monkeypatch):
    splits = prepare_foreign(tmp_path, monkeypatch, label=None, splits=("train",))
    assert {k: len(v.images) for k, v in splits.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    assert splits["test"].labels is None
    assert splits["test"].class_names == ()


def test_images_of_several_shapes_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"flaxae needs one fixed shape, \(5, 4, 3\)"):
        prepare_foreign(tmp_path, monkeypatch, first_shape=(6, 4, 3))


def test_an_undeclared_image_shape_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="dataset foreign has no images of one fixed shape"):
        prepare_foreign(tmp_path, monkeypatch, shape=(None, None, 3))


def test_a_truncated_record_file_is_refused(tmp_path, monkeypatch):
    prepare_foreign(tmp_path, monkeypatch)
    folder = tmp_path / "datasets/foreign/1.0.0"
    (record,) = folder.glob("*train*array_record*")
    record.write_bytes(record.read_bytes()[:200])
    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "another"))
    with pytest.raises(InputError, match=r"cannot be read .*prepare again"):
        load(tmp_path, "foreign")
