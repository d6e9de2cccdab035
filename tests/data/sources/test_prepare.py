"""Preparing a dataset by TFDS: damage, full disks, and what a kill leaves behind."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets

from flaxae.data.sources import idx, prepare, tfds
from flaxae.data.store.build import build
from flaxae.data.store.plan import Chunk, Plan
from flaxae.errors import InputError, RunError

NAMES = [name for pair in idx.FILES.values() for name in pair]
Builder = tensorflow_datasets.core.DatasetBuilder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data_dir that holds mnist_5k, after the leftovers of a kill were found there."""
    data_dir = tmp_path_factory.mktemp("datasets")
    left = data_dir / "mnist_5k" / "incomplete.AB12CD_1.0.0"
    left.mkdir(parents=True)
    (left / "mnist_5k-train.array_record").write_bytes(b"half")
    (data_dir / "mnist_5k" / "incomplete.mine").mkdir()
    temporary = data_dir / "temporary"
    temporary.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        prepare.prepare("mnist_5k", data_dir, None)
    finally:
        tempfile.tempdir = before
    return data_dir


def test_what_a_kill_left_is_removed_and_nothing_else(prepared):
    names = {path.name for path in (prepared / "mnist_5k").iterdir()}
    assert names == {"1.0.0", "incomplete.mine"}
    assert not list((prepared / "temporary").iterdir())
    assert {p.name for p in prepared.iterdir()} == {"mnist_5k", "temporary", ".mnist_5k.lock"}


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'{"name": 3}', b"\xff\xfe", None])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_damaged_descriptions_are_one_line(prepared, name, content):
    path = prepared / "mnist_5k" / "1.0.0" / name
    whole = path.read_bytes()
    cut = whole[: len(whole) // 2]
    path.write_bytes(cut if content is None else content)
    said = ""
    try:
        prepare.prepare("mnist_5k", prepared, None)
    except InputError as error:
        said = str(error)
    finally:
        path.write_bytes(whole)
    assert "\n" not in said
    assert prepare.prepare("mnist_5k", prepared, None).split_sizes["train"] == 3600


def test_damaged_dataset_info_says_what_to_do(prepared):
    path = prepared / "mnist_5k" / "1.0.0" / "dataset_info.json"
    whole = path.read_bytes()
    path.write_bytes(b"{")
    try:
        with pytest.raises(InputError, match=r"1\.0\.0 is damaged \(.*delete it, and the same"):
            prepare.prepare("mnist_5k", prepared, None)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("full")])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Builder, "download_and_prepare", fail)
    with pytest.raises(RunError, match=r"could not be written \((No space|full).*--data-dir"):
        prepare.prepare("mnist_5k", tmp_path, None)


def test_a_refused_archive_leaves_no_download(tmp_path, monkeypatch):
    def refuse(self, *, download_dir, **_):
        archive = Path(download_dir) / "archive.gz"
        archive.parent.mkdir(parents=True)
        archive.write_bytes(b"wrong")
        raise prepare.NonMatchingChecksumError("sha256 is another\nand more")

    monkeypatch.setattr(Builder, "download_and_prepare", refuse)
    monkeypatch.setattr(prepare, "_reachable", lambda host: True)
    with pytest.raises(InputError, match=r"download of idx_kmnist failed \(sha256 is another\)"):
        prepare.prepare("kmnist", tmp_path, None)
    assert {path.name for path in tmp_path.iterdir()} == {".idx_kmnist.lock"}


def archive(path, unpacked):
    """A gzip file that unpacks to so many zeros."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(unpacked // 2**20):
            file.write(bytes(2**20))


@pytest.mark.parametrize("name", NAMES)
def test_no_more_is_unpacked_than_the_official_file_holds(tmp_path, name):
    archive(tmp_path / "bomb.gz", 2**26)
    with pytest.raises(InputError, match=r"bomb.gz holds more than the [\d,]+ bytes of the off"):
        idx.IdxMnist.verified(name, tmp_path / "bomb.gz")


def test_a_bomb_takes_no_memory(tmp_path, monkeypatch):
    archive(tmp_path / "bomb.gz", 2**26)
    asked = []
    real = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or real(self, size)
    )
    with pytest.raises(InputError, match="more than the 10,008 bytes"):
        idx.IdxMnist.verified("t10k-labels-idx1-ubyte", tmp_path / "bomb.gz")
    assert asked == [10_009]


@pytest.mark.parametrize("size", [10**11, 2**20])
def test_a_large_file_is_refused_unread(tmp_path, monkeypatch, size):
    with open(tmp_path / "labels", "wb") as file:
        file.truncate(size)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("read"))
    with pytest.raises(InputError, match="more than the 60,008 bytes"):
        idx.IdxMnist.verified("train-labels-idx1-ubyte", tmp_path / "labels")


def stored(tmp_path, labels):
    images = np.zeros((4, 2, 2, 1), np.uint8)
    facts = {"sizes": {"train": 2, "validation": 1, "test": 1}, "class_names": ["a", "b"]}

    def decode(rows):
        yield Chunk(images[rows], labels=np.array(labels, np.int32)[rows])

    return tfds._splits(build(tmp_path, Plan("x", "x", "x", 4, (2, 2, 1), decode, facts=facts)))


def test_a_split_whose_labels_are_kept_secret_has_none(tmp_path):
    splits = stored(tmp_path, [0, 1, 1, -1])
    assert splits["train"].labels.tolist() == [0, 1]
    assert splits["test"].labels is None
    assert splits["test"].class_names == ()


@pytest.mark.parametrize("label", [999, -2])
def test_a_label_without_a_class_is_one_line(label):
    class Source(list):
        def __getitems__(self, rows):
            return [self[row] for row in rows]

    class Fake:
        def as_data_source(self, split):
            return Source([{"image": np.zeros((2, 2, 1), np.uint8), "label": label}])

    dataset = prepare.PreparedDataset(
        Path("x"), {"train": 1}, {"train": "train"}, (2, 2, 1), ("a", "b"), Fake(), "image", "label"
    )
    with pytest.raises(InputError, match="expected 0 to 1, or -1"):
        list(prepare.decode(dataset, "train"))


@pytest.mark.parametrize("how", ["another", "gone"])
def test_a_prepared_file_that_is_another_one_is_told(prepared, how):
    folder = prepared / "mnist_5k" / "1.0.0"
    shard, other = (next(folder.glob(f"*-{name}.array*")) for name in ("validation", "test"))
    whole = shard.read_bytes()
    shard.unlink()
    if how == "another":
        shard.write_bytes(other.read_bytes())
    try:
        with pytest.raises(
            InputError, match=r"is damaged \(.*validation.* has changed\); delete it"
        ):
            prepare.prepare("mnist_5k", prepared, None)
    finally:
        shard.write_bytes(whole)
    assert prepare.prepare("mnist_5k", prepared, None).split_sizes["validation"] == 400


def test_what_has_no_seal_is_taken_and_sealed(prepared):
    """It is of an earlier version, or of a process that was killed before it sealed."""
    kept = prepared / "mnist_5k" / "1.0.0" / "flaxae_sha256.json"
    content = kept.read_bytes()
    kept.unlink()
    try:
        assert prepare.prepare("mnist_5k", prepared, None).split_sizes["train"] == 3600
        assert kept.read_bytes() == content
    finally:
        kept.write_bytes(content)
