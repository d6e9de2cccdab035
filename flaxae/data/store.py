"""Decoded datasets on disk: .npy files beside the prepared dataset, memory-mapped."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flaxae.data import DataConfig
from flaxae.data.sources import OWN_DATASETS
from flaxae.data.splits import SPLITS, Split

if TYPE_CHECKING:
    from flaxae.data.sources.prepare import PreparedDataset

_ARRAYS = "flaxae_arrays"  # inside the prepared dataset's folder, and so deleted with it


def load(config: DataConfig) -> dict[str, Split]:
    """The splits train, validation and test, memory-mapped.

    The first call decodes them through TFDS and keeps them as .npy beside the dataset. Later calls
    use neither TFDS nor a decoder.

    Raises:
        InputError: the dataset is unknown, or not available on this machine.
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


def _data_dir(config: DataConfig) -> Path:
    name = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(name).expanduser().absolute()


def _decode(dataset: "PreparedDataset") -> dict[str, Split]:
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


def _gather(dataset: "PreparedDataset", chunks: Iterator[tuple[np.ndarray, Any]]) -> Split:
    images, labels = zip(*chunks, strict=True)
    labels_known = dataset.class_names is not None
    return Split(
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


def _read_arrays(folder: Path) -> dict[str, Split] | None:
    """The splits kept in `folder`, or None where they are absent, damaged or out of date."""
    try:
        description = json.loads((folder / _ARRAYS / "description.json").read_text())
        if description["source"] != _fingerprint(folder):
            return None
        class_names = description["class_names"]
        return {
            split: Split(
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
