"""The config of a run: frozen dataclasses.

Every package keeps its options beside what they are for; this module puts them together. It imports
nothing heavy, because every command reads it, `--help` included.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flaxae.data import DataConfig, is_path
from flaxae.data.sources import resolve_dataset
from flaxae.errors import Options, PathText, absolute_path, require
from flaxae.models import MODELS
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig, ModelConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import DeviceConfig, OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Options):
    """Train an autoencoder, or continue the run that the workdir holds.

    Fields marked "changeable" change how long a run trains, or where and how it is computed, but
    not what is computed: a run can continue with another value of these.

    Example:
        >>> from flaxae import ConvolutionalConfig, OptimizerConfig, TrainConfig
        >>> TrainConfig(model=ConvolutionalConfig(filters=(8, 4)), epochs=3).model.filters
        (8, 4)
    """

    model: ModelConfig = field(default_factory=ConvolutionalConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default=None)  # type: ignore[assignment] # pyright: ignore
    """If it is not given: what suits the model."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    workdir: PathText | None = field(default=None, metadata={"changeable": True})
    """Folder of the run (none: runs/<model or preset>-<dataset>)."""
    epochs: int = field(default=50, metadata={"changeable": True})
    """Passes over the training split, those of an earlier start included."""
    seed: int = 0
    """Seed of initial weights, order of examples, noise and dropout; 0 to 2**32 - 1."""
    full_disk_minutes: float = field(default=60.0, metadata={"changeable": True})
    """Minutes that training goes on while a full disk or quota lets no checkpoint be saved."""
    scoring: bool = field(default=False, metadata={"changeable": True})
    """Keep at the end what `score` compares with, so that it needs no training images (else the
    first `score` keeps it)."""
    profile: bool = field(default=False, metadata={"changeable": True})
    """Record a few calls of the first epoch in <workdir>/profile, for XProf or Perfetto."""

    def __post_init__(self) -> None:
        if self.optimizer is None and isinstance(self.model, ModelConfig):
            object.__setattr__(self, "optimizer", OptimizerConfig(**self.model.recipe))
        super().__post_init__()

    def check(self) -> None:
        require(self.epochs >= 1, "--epochs", self.epochs, "a whole number from 1")
        require(0 <= self.seed < 2**32, "--seed", self.seed, "0 <= seed < 2**32")
        minutes = self.full_disk_minutes
        require(0 <= minutes < math.inf, "--full-disk-minutes", minutes, "minutes from 0")
        self.optimizer.refuse_beyond_horizon(self.epochs)
        known = MODELS.get(getattr(self.model, "name", "")) is type(self.model)
        expected = "a class that flaxae.models.MODELS has under its name"
        require(known, "model", type(self.model).__name__, expected)

    def with_absolute_paths(self) -> "TrainConfig":
        """The same, to be kept in a file that is read from other folders."""
        names = ("data_dir", "manual_dir", "store_dir", "labels", "targets")
        given = {name: getattr(self.data, name) for name in names}
        absolute = {k: v and str(absolute_path(v, k)) for k, v in given.items()}
        absolute["dataset"] = resolve_dataset(self.data.dataset)
        return dataclasses.replace(self, data=dataclasses.replace(self.data, **absolute))

    def with_horizon(self, earlier: "TrainConfig | None") -> "TrainConfig":
        """The same, with the schedule's epochs: those of the earlier start, or of this one."""
        optimizer = self.optimizer
        if optimizer.schedule_epochs is not None:
            return self
        epochs = earlier.optimizer.schedule_epochs if earlier is not None else None
        if epochs is None and not optimizer.has_horizon():
            return self
        optimizer = dataclasses.replace(optimizer, schedule_epochs=epochs or self.epochs)
        return dataclasses.replace(self, optimizer=optimizer)

    def workdir_path(self, preset: str | None = None) -> Path:
        """The absolute path of the run's folder; its default carries the name of a preset."""
        dataset = self.data.dataset
        if is_path(dataset):
            name = absolute_path(dataset, "--dataset").name
            dataset = re.sub(r"[^\w. -]+", "-", name)[:80] or "images"
        name = re.sub(r"[/:]", "-", dataset)
        if self.data.classes:
            name += "-" + re.sub(r"[^\w. -]+", "-", "-".join(self.data.classes))[:80]
        name = self.workdir or f"runs/{preset or self.model.name}-{name}"
        return run_folder(name)


def run_folder(workdir: str | Path) -> Path:
    """The absolute path of a run's folder.

    Raises:
        InputError: its path has a character that Orbax reads as a pattern of file names; it would
            save checkpoints there and find none.
    """
    path = absolute_path(workdir, "--workdir")
    found = next((c for c in "[*?" if c in str(path)), "")
    require(not found, "--workdir", path, f"a path without {found}, which Orbax cannot read back")
    return path


def parse_checkpoint(value: str | int) -> str | int:
    """The name of a checkpoint: "best", "latest", or a step as a number.

    Raises:
        InputError: it is none of them.
    """
    if value in ("best", "latest"):
        return value
    is_step = isinstance(value, (str, int)) and str(value).isdecimal() and len(str(value)) < 19
    expected = "best, latest, or the number of a step"
    require(is_step, "--checkpoint", str(value)[:40], expected)
    return int(value)


def is_group(kind: Any) -> bool:
    """Whether a field of this type is a group of options."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)
