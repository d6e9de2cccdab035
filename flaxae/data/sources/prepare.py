"""Prepares a dataset with TFDS and decodes its splits, which is slow and done once per dataset."""

import contextlib
import io
import logging
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from flaxae.data.sources import OWN_DATASETS
from flaxae.data.sources.idx import IdxFashionMnist, IdxKmnist, IdxMnist, find_files
from flaxae.data.sources.mnist_5k import Mnist5k
from flaxae.errors import InputError, similar

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
            yield np.stack(images).astype(np.uint8, copy=False), labels
    except (RuntimeError, NotImplementedError, FileNotFoundError) as error:
        raise InputError(
            f"{dataset.folder} cannot be read ({_first_line(error)}); delete it and prepare again "
            'in the array_record format (file_format="array_record")'
        ) from error


def _own_builder(name: str, data_dir: Path, manual_dir: Path | None) -> Any:
    if name not in OWN_DATASETS:
        return None
    builder = _BUILDERS[name](data_dir=data_dir, file_format="array_record")
    if builder.is_prepared():
        return builder
    if name != "mnist_5k":
        _require_files(name, manual_dir)
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints a download size
            builder.download_and_prepare(download_config=config, file_format="array_record")
    except FileExistsError:  # another process prepared it at the same time
        builder = _BUILDERS[name](data_dir=data_dir, file_format="array_record")
    return builder


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
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        known = ", ".join(OWN_DATASETS)
        raise InputError(
            f"--dataset got {name}, which is a dataset of neither flaxae ({known}) nor TFDS: "
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
