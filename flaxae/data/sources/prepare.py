"""Prepares a dataset with TFDS and decodes its splits, which is slow and done once per dataset."""

import contextlib
import fcntl
import io
import logging
import shutil
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError

from flaxae.data import seal
from flaxae.data.atomic import write_atomically
from flaxae.data.file_names import printable
from flaxae.data.sources import OWN_DATASETS
from flaxae.data.sources.idx import IdxFashionMnist, IdxKmnist, IdxMnist, find_files
from flaxae.data.sources.mnist_5k import Mnist5k
from flaxae.errors import InputError, RunError, similar

_BUILDERS = {
    "mnist_5k": Mnist5k,
    "mnist": IdxMnist,
    "fashion_mnist": IdxFashionMnist,
    "kmnist": IdxKmnist,
}
_CONNECT_SECONDS = 8  # time limit for reaching a host
_CHUNK = 10_000  # records per read: faster than single reads, and bounded in memory


class PreparedDataset(NamedTuple):
    """A dataset that TFDS has prepared on disk."""

    folder: Path  # holds dataset_info.json
    split_sizes: dict[str, int]
    slices: dict[str, str]  # train, validation, test -> TFDS's name of the slice
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None  # None where the dataset has no labels
    builder: Any
    image_key: str
    label_key: str | None


def prepare(name: str, data_dir: Path, manual_dir: Path | None) -> PreparedDataset:
    """Finds the dataset `name` below `data_dir`; prepares it first if it is in OWN_DATASETS.

    Raises:
        InputError: the dataset is unknown, is not prepared, cannot be downloaded, or has no images
            of one fixed shape.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns about absent folders
    builder = _own_builder(name, data_dir, manual_dir) or _foreign_builder(name, data_dir)
    image_key, label_key = _feature_keys(name, builder)
    label = builder.info.features[label_key] if label_key else None
    slices = _slices(name, builder)
    return PreparedDataset(
        folder=Path(builder.data_dir),
        split_sizes={split: _slice_size(builder, s) for split, s in slices.items()},
        slices=slices,
        image_shape=tuple(builder.info.features[image_key].shape),
        class_names=tuple(label.names) if label else None,
        builder=builder,
        image_key=image_key,
        label_key=label_key,
    )


def decode(dataset: PreparedDataset, split: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yields images (uint8 [n, height, width, channels]) and labels (int32 [n]) of a split.

    Each item is a chunk of examples. Labels are None if the dataset has none.

    Raises:
        InputError: a record is unreadable, or an image does not have the declared shape.
    """
    try:
        source = dataset.builder.as_data_source(split=dataset.slices[split])
        for first in range(0, len(source), _CHUNK):
            records = source.__getitems__(range(first, min(first + _CHUNK, len(source))))
            images = [np.asarray(record[dataset.image_key]) for record in records]
            shapes = {image.shape for image in images}
            if shapes != {dataset.image_shape}:
                raise InputError(
                    f"{dataset.folder} holds images of the shapes {sorted(shapes)}; "
                    f"flaxae needs one fixed shape, {dataset.image_shape}"
                )
            key = dataset.label_key
            labels = np.array([record[key] for record in records], np.int32) if key else None
            classes = len(dataset.class_names or ())
            if labels is not None and not (labels.min() >= -1 and labels.max() < classes):
                raise InputError(
                    f"{dataset.folder} holds labels in {labels.min()}..{labels.max()}; expected 0 "
                    f"to {classes - 1}, or -1 for images without a label"
                )
            yield np.stack(images).astype(np.uint8, copy=False), labels
    except (RuntimeError, NotImplementedError, FileNotFoundError) as error:
        raise InputError(
            f"{dataset.folder} cannot be read ({_first_line(error)}); delete it and prepare again "
            'in the array_record format (file_format="array_record")'
        ) from error


def _own_builder(name: str, data_dir: Path, manual_dir: Path | None) -> Any:
    if name not in OWN_DATASETS:
        return None
    builder = _opened(name, data_dir)
    if builder.is_prepared():
        _require_seal(Path(builder.data_dir))
        return builder
    if name != "mnist_5k":
        _require_files(name, manual_dir)
    with _faults_in(data_dir), _locked(data_dir, builder.name):
        # Of our own, because TFDS keeps what it refuses. A finished download is used again.
        downloads = data_dir / "downloads" / f"flaxae-{builder.name}"
        _remove_interrupted(Path(builder.data_dir), downloads)
        if not _opened(name, data_dir).is_prepared():  # by a process that was waited for
            _download_and_prepare(builder, downloads, manual_dir)
    return _opened(name, data_dir)


def _opened(name: str, data_dir: Path) -> Any:
    """The builder of one of our own datasets, which reads what is prepared.

    Raises:
        InputError: what is prepared is damaged.
    """
    folder = data_dir / OWN_DATASETS[name]
    try:
        return _BUILDERS[name](data_dir=data_dir, file_format="array_record")
    # TFDS has no common error: damaged files give ParseError, ValueError, KeyError and others.
    except Exception as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, what: Exception | str) -> InputError:
    text = printable(what if isinstance(what, str) else _first_line(what))
    return InputError(
        f"{printable(folder)} is damaged ({text}); delete it, and the same command prepares it "
        "again"
    )


def _download_and_prepare(builder: Any, downloads: Path, manual_dir: Path | None) -> None:
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a download size
            builder.download_and_prepare(
                download_dir=downloads, download_config=config, file_format="array_record"
            )
    except (InputError, NonMatchingChecksumError, DownloadError) as error:
        _forget(downloads)  # refused, and of no use
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the download of {builder.name} failed ({printable(_first_line(error))}); try again, "
            "or give the official files by --manual-dir"
        ) from error
    _forget(downloads)  # the prepared dataset holds all of it
    _seal(Path(builder.data_dir))


def _seal(folder: Path) -> None:
    write_atomically(folder / seal.NAME, seal.seal_of(folder))


def _require_seal(folder: Path) -> None:
    """Raises InputError if a sealed dataset has changed.

    One without a seal is sealed as it is: it is of an earlier version, or of a process that was
    killed between preparing and sealing.
    """
    if not (folder / seal.NAME).exists():
        with contextlib.suppress(OSError):  # in a folder that this user may only read
            _seal(folder)
    elif (what := seal.damage(folder)) is not None:
        raise _damaged(folder, what)


@contextlib.contextmanager
def _locked(data_dir: Path, name: str) -> Iterator[None]:
    """Waits for another process that prepares the dataset; only one removes and writes."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / f".{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_interrupted(folder: Path, downloads: Path) -> None:
    """Removes what a kill left while this dataset, which is our own, was prepared."""
    left = [*folder.parent.glob(f"incomplete.??????_{folder.name}"), *downloads.rglob("*.tmp.*")]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)


def _forget(downloads: Path) -> None:
    shutil.rmtree(downloads, ignore_errors=True)
    with contextlib.suppress(OSError):  # others' downloads are there
        downloads.parent.rmdir()


@contextlib.contextmanager
def _faults_in(data_dir: Path) -> Iterator[None]:
    """A full or forbidden disk is one line; array_record raises RuntimeError for it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise RunError(
            f"{printable(data_dir)} could not be written ({printable(reason)}); make room there "
            "and repeat the command, or give another folder by --data-dir"
        ) from error


def _require_files(name: str, manual_dir: Path | None) -> None:
    """Raises InputError if `manual_dir` lacks the IDX files or their host is unreachable.

    TFDS itself would retry an unreachable host for minutes.
    """
    if manual_dir is not None:
        if not manual_dir.is_dir() or not find_files(manual_dir):
            raise InputError(f"--manual-dir {manual_dir} holds no IDX file; {_what_to_do(name)}")
        return
    host = urllib.parse.urlsplit(_BUILDERS[name].official.URL).netloc
    if not _reachable(host):
        raise InputError(
            f"dataset {name} is not prepared and {host} cannot be reached; {_what_to_do(name)}"
        )


def _what_to_do(name: str) -> str:
    return (
        "put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
        f"t10k-labels-idx1-ubyte.gz of {name} (or the four without .gz) into a folder and pass it "
        "as --manual-dir, or take --dataset mnist_5k, which needs no download"
    )


def _reachable(host: str) -> bool:
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((host, 80), timeout=_CONNECT_SECONDS / 2).close()
            answers.append(True)
        except OSError:
            pass

    # In a daemon thread, because name resolution has no time limit and cannot be interrupted.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    return bool(answers)


def _foreign_builder(name: str, data_dir: Path) -> Any:
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except Exception as error:  # TFDS has no common error for damaged files
        folder = data_dir / name.partition(":")[0]
        if folder.is_dir() and not isinstance(error, tfds.core.DatasetNotFoundError):
            raise _damaged(folder, error) from error
        known = ", ".join(OWN_DATASETS)
        raise InputError(
            f"--dataset got {name}, which is no file or folder here, and no dataset of flaxae "
            f"({known}) or TFDS: "
            f"{_first_line(error).rstrip('.')}{similar(name, _known(data_dir))}"
        ) from error
    if not builder.is_prepared():
        raise InputError(
            f"dataset {name} is not prepared in {data_dir}, and preparing it may need TensorFlow; "
            f'once: pip install tensorflow-cpu && python -c "import tensorflow_datasets as tfds; '
            f"tfds.builder('{name}', data_dir='{data_dir}', file_format='array_record')"
            '.download_and_prepare()"'
        )
    return builder


def _known(data_dir: Path) -> list[str]:
    """The names of datasets that can be used here: flaxae's own, and what is prepared."""
    prepared = [path.name for path in data_dir.iterdir()] if data_dir.is_dir() else []
    return [*OWN_DATASETS, *prepared]


def _feature_keys(name: str, builder: Any) -> tuple[str, str | None]:
    features = builder.info.features
    items = features.items() if hasattr(features, "items") else []
    images = [k for k, f in items if len(f.shape or ()) == 3 and f.np_dtype == np.uint8]
    labels = [k for k, f in items if isinstance(f, tfds.features.ClassLabel)]
    key = "image" if "image" in images else next(iter(images), None)
    if key is None or None in features[key].shape:
        shapes = {k: f.shape for k, f in items}
        raise InputError(f"dataset {name} has no images of one fixed shape; its features: {shapes}")
    return key, "label" if "label" in labels else next(iter(labels), None)


def _slices(name: str, builder: Any) -> dict[str, str]:
    """Returns TFDS's slice for each of train, validation and test.

    Splits that the dataset lacks are held out of its training split. Without a test split, the
    validation split becomes the test split.
    """
    names = set(builder.info.splits)
    if "train" not in names:
        raise InputError(f"dataset {name} has no split 'train'; its splits: {sorted(names)}")
    if {"validation", "test"} <= names:
        return {split: split for split in ("train", "validation", "test")}
    if "test" in names:
        return {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    if "validation" in names:
        return {"train": "train[:90%]", "validation": "train[90%:]", "test": "validation"}
    return {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}


def _slice_size(builder: Any, name: str) -> int:
    return builder.info.splits[name].num_examples


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
