"""Datasets by name: flaxae's own builders, and whatever else TFDS has prepared."""

from flaxae.data import DataConfig, store
from flaxae.data.splits import Split


class TfdsSource:
    """The dataset that `config` names, decoded once and memory-mapped."""

    def __init__(self, config: DataConfig) -> None:
        self.name = config.dataset
        self._config = config

    def splits(self) -> dict[str, Split]:
        """See `store.load`."""
        return store.load(self._config)

    def digest(self) -> None:
        """None: TFDS verifies what it prepares."""
        return
