"""Image sets in memory or memory-mapped, and epochs of batches as a function of (seed, epoch)."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int32, UInt8

from flaxae.config import DataConfig
from flaxae.data.sources import OWN_DATASETS

if TYPE_CHECKING:
    from flaxae.data.sources.prepare import PreparedDataset

AnyArray = np.ndarray | jax.Array  # on the host, or on the device

SPLITS = ("train", "validation", "test")
_ARRAYS = "flaxae_arrays"  # inside the prepared dataset's folder, and so deleted with it


class ImageSet(NamedTuple):
    """Images, what is on them, and the names of what can be on them."""

    images: UInt8[np.ndarray, "examples height width channels"]
    labels: Int32[np.ndarray, " examples"] | None
    class_names: tuple[str, ...]  # empty where there are no labels


class Batch(NamedTuple):
    """Images of one step and their rows in the split; `mask` is False for padding."""

    images: UInt8[AnyArray, "batch height width channels"]
    rows: Int32[AnyArray, " batch"]
    mask: Bool[AnyArray, " batch"]


class Rows(NamedTuple):
    """A batch whose images are on the device already, as rows of all of them."""

    rows: Int32[AnyArray, " batch"]
    mask: Bool[AnyArray, " batch"]


def load(config: DataConfig) -> dict[str, ImageSet]:
    """The splits train, validation and test, memory-mapped.

    The first time they are decoded through TFDS and kept as .npy beside the dataset; from then on
    neither TFDS nor a decoder is involved.

    Raises:
        InputError: the dataset is unknown, or cannot be had on this machine.
    """
    data_dir = _data_dir(config)
    if config.dataset in OWN_DATASETS:
        cached = _read_arrays(data_dir / OWN_DATASETS[config.dataset])
        if cached is not None:
            return cached
    from flaxae.data.sources.prepare import prepare  # imports TFDS, which most starts do without

    manual_dir = Path(config.manual_dir).expanduser().absolute() if config.manual_dir else None
    dataset = prepare(config.dataset, data_dir, manual_dir)
    return _read_arrays(dataset.folder) or _decode(dataset)


def select(splits: dict[str, ImageSet], name: str) -> ImageSet:
    """One split, or with "all" the three of them one after the other."""
    if name != "all":
        return splits[name]
    parts = [splits[split] for split in SPLITS]
    labels = [part.labels for part in parts if part.labels is not None]
    return ImageSet(
        np.concatenate([part.images for part in parts]),
        np.concatenate(labels) if labels else None,
        parts[0].class_names,
    )


def epoch_order(seed: int, epoch: int, examples: int) -> Int32[np.ndarray, " examples"]:
    """The order in which an epoch visits the examples: a function of nothing but its arguments."""
    order = np.arange(examples, dtype=np.int32)
    np.random.default_rng((seed, epoch)).shuffle(order)
    return order


def training_batches(
    images: UInt8[np.ndarray, "examples height width channels"],
    batch_size: int,
    seed: int,
    epoch: int,
    first_step: int = 0,
) -> Iterator[Batch]:
    """`training_rows` with their images."""
    for rows, mask in training_rows(len(images), batch_size, seed, epoch, first_step):
        yield Batch(images[rows], rows, mask)


def training_rows(
    examples: int, batch_size: int, seed: int, epoch: int, first_step: int = 0
) -> Iterator[Rows]:
    """Full batches of one epoch, from its step `first_step` on.

    The examples that do not fill a batch are left out; every epoch leaves out others.
    """
    order = epoch_order(seed, epoch, examples)
    mask = np.ones(batch_size, bool)
    for step in range(first_step, examples // batch_size):
        yield Rows(order[step * batch_size : (step + 1) * batch_size], mask)


def evaluation_batches(
    images: UInt8[np.ndarray, "examples height width channels"], batch_size: int
) -> Iterator[Batch]:
    """All images in their order; the last batch is filled up with zeros, masked out."""
    for first in range(0, len(images), batch_size):
        part = images[first : first + batch_size]
        padding = batch_size - len(part)
        padded = np.pad(part, ((0, padding), (0, 0), (0, 0), (0, 0))) if padding else part
        rows = np.arange(first, first + batch_size, dtype=np.int32)
        yield Batch(padded, rows, rows < len(images))


def pick_examples(labels: Int32[np.ndarray, " examples"] | None, count: int) -> list[int]:
    """Rows of `count` examples to look at: one of each class in turn, where there are labels."""
    if labels is None:
        return list(range(count))
    by_class = [np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]
    deepest = max(map(len, by_class))
    rows = [int(group[turn]) for turn in range(deepest) for group in by_class if turn < len(group)]
    return rows[:count]


def _data_dir(config: DataConfig) -> Path:
    name = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(name).expanduser().absolute()


def _decode(dataset: "PreparedDataset") -> dict[str, ImageSet]:
    """Decodes all splits into memory-mapped files; into memory where the folder is read-only."""
    from flaxae.data.sources.prepare import decode

    try:
        scratch = Path(tempfile.mkdtemp(prefix=_ARRAYS, dir=dataset.folder))
    except OSError:
        return {split: _gather(dataset, decode(dataset, split)) for split in SPLITS}
    try:
        for split in SPLITS:
            _write_split(scratch, split, dataset, decode(dataset, split))
        description = {"class_names": dataset.class_names, "source": _fingerprint(dataset.folder)}
        (scratch / "description.json").write_text(json.dumps(description))
        _put_in_place(scratch, dataset.folder / _ARRAYS)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    arrays = _read_arrays(dataset.folder)
    assert arrays is not None, f"{dataset.folder / _ARRAYS} was written just now"
    return arrays


def _gather(dataset: "PreparedDataset", chunks: Iterator[tuple[np.ndarray, Any]]) -> ImageSet:
    images, labels = zip(*chunks, strict=True)
    labels_known = dataset.class_names is not None
    return ImageSet(
        np.concatenate(images),
        np.concatenate(labels) if labels_known else None,
        dataset.class_names or (),
    )


def _write_split(
    folder: Path, split: str, dataset: "PreparedDataset", chunks: Iterator[tuple[np.ndarray, Any]]
) -> None:
    count = dataset.split_sizes[split]
    create = np.lib.format.open_memmap
    images = create(folder / f"{split}_images.npy", "w+", np.uint8, (count, *dataset.image_shape))
    labels = np.zeros(count, np.int32)
    row = 0
    for chunk, chunk_labels in chunks:
        images[row : row + len(chunk)] = chunk
        if chunk_labels is not None:
            labels[row : row + len(chunk)] = chunk_labels
        row += len(chunk)
    images.flush()
    if dataset.class_names is not None:
        np.save(folder / f"{split}_labels.npy", labels)


def _put_in_place(scratch: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)  # damaged, or of a dataset that was rebuilt since
    try:
        scratch.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same content
            raise


def _read_arrays(folder: Path) -> dict[str, ImageSet] | None:
    """The splits kept in `folder`, or None where they are absent, damaged or out of date."""
    try:
        description = json.loads((folder / _ARRAYS / "description.json").read_text())
        if description["source"] != _fingerprint(folder):
            return None
        class_names = description["class_names"]
        return {
            split: ImageSet(
                np.load(folder / _ARRAYS / f"{split}_images.npy", mmap_mode="r"),
                np.load(folder / _ARRAYS / f"{split}_labels.npy") if class_names else None,
                tuple(class_names or ()),
            )
            for split in SPLITS
        }
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _fingerprint(folder: Path) -> str:
    """Changes when TFDS prepares the dataset anew."""
    return hashlib.sha256((folder / "dataset_info.json").read_bytes()).hexdigest()
