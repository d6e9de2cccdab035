"""Datasets by name: flaxae's own builders, and whatever else TFDS has prepared."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flaxae.data import DataConfig
from flaxae.data.sources import OWN_DATASETS
from flaxae.data.splits import SPLITS, Split
from flaxae.data.store.entries import build_shown, entry_name, store_root
from flaxae.data.store.files import find
from flaxae.data.store.images import StoredImages
from flaxae.data.store.plan import Chunk, Entry, Plan
from flaxae.errors import absolute_path

if TYPE_CHECKING:
    from flaxae.data.sources.prepare import PreparedDataset


class TfdsSource:
    """The dataset that `config` names, decoded once into the store."""

    def __init__(self, config: DataConfig) -> None:
        self.name = config.dataset
        self._config = config

    def splits(self) -> dict[str, Split]:
        """See `load`."""
        return load(self._config)

    def digest(self) -> None:
        """None: TFDS verifies what it prepares, and the store what it reads."""
        return


def load(config: DataConfig) -> dict[str, Split]:
    """The splits train, validation and test of a dataset, in the store.

    The first call decodes them through TFDS. Later calls use neither TFDS nor a decoder.

    Raises:
        InputError: the dataset is unknown, or not available on this machine.
    """
    name, data_dir = config.dataset.removeprefix("tfds:"), _data_dir(config)
    root = store_root(config)
    if name in OWN_DATASETS:
        known = _find(root, data_dir / OWN_DATASETS[name])
        if known is not None:
            return _splits(known)
    from flaxae.data.sources.prepare import prepare  # imports TFDS, which most starts do without

    manual_dir = absolute_path(config.manual_dir, "--manual-dir") if config.manual_dir else None
    dataset = prepare(name, data_dir, manual_dir)
    return _splits(_find(root, dataset.folder) or build_shown(root, _plan(dataset)))


def _data_dir(config: DataConfig) -> Path:
    name = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return absolute_path(name, "--data-dir")


def _find(root: Path, folder: Path) -> Entry | None:
    fingerprint = _fingerprint(folder)
    return (fingerprint and find(root, _entry_name(folder), fingerprint)) or None


def _fingerprint(folder: Path) -> str | None:
    """Changes when TFDS prepares the dataset anew."""
    try:
        return hashlib.sha256((folder / "dataset_info.json").read_bytes()).hexdigest()
    except OSError:
        return None


def _entry_name(folder: Path) -> str:
    return entry_name(folder.parent.name, str(folder))


def _plan(dataset: "PreparedDataset") -> Plan:
    return Plan(
        name=_entry_name(dataset.folder),
        source=str(dataset.folder),
        fingerprint=_fingerprint(dataset.folder) or "",
        rows=sum(dataset.split_sizes.values()),
        image_shape=dataset.image_shape,
        decode=lambda rows: _chunks(dataset, rows),
        facts={"sizes": dataset.split_sizes, "class_names": dataset.class_names},
    )


def _chunks(dataset: "PreparedDataset", rows: np.ndarray) -> Iterator[Chunk]:
    """The wanted rows; the rows of the splits follow each other."""
    from flaxae.data.sources.prepare import decode

    first = 0
    for split in SPLITS:
        for images, labels in decode(dataset, split):
            wanted = rows[(rows >= first) & (rows < first + len(images))] - first
            first += len(images)
            if len(wanted):
                yield Chunk(images[wanted], labels=None if labels is None else labels[wanted])


def _splits(entry: Entry) -> dict[str, Split]:
    names = tuple(entry.facts["class_names"] or ())
    rows = np.arange(len(entry.hashes))
    ends = np.cumsum([entry.facts["sizes"][name] for name in SPLITS])
    parts = np.split(rows, ends[:-1])
    splits = {}
    for name, part in zip(SPLITS, parts, strict=True):
        labels = entry.labels[part]
        # TFDS writes -1 where a label is kept secret, as in some test splits.
        labeled = bool(names) and (labels >= 0).all()
        images = StoredImages(entry.images, part)
        splits[name] = Split(images, labels, names) if labeled else Split(images)
    return splits
