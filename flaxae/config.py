"""What a run is made of: frozen dataclasses, their checks, and their way to JSON and back.

The command line is generated from these fields: the string below a field is its help text, and
its default stands here and nowhere else. Imports only the standard library, because every
sub-command, `--help` too, waits for this file.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from flaxae.errors import InputError

Config = TypeVar("Config")

# A finished run may be taken up again with another value of these: they change how long it
# trains, or where and how it is computed, but not what is computed.
_CHANGEABLE: Mapping[str, Any] = {"changeable": True}


@dataclass(frozen=True)
class ModelConfig:
    """Model."""

    model: Literal["convolutional", "fully_connected"] = "convolutional"
    """The kind of autoencoder."""
    filters: tuple[int, ...] = (16, 8, 8)
    """Convolutional: filters of each encoder block; every block halves height and width."""
    hidden_units: tuple[int, ...] = (128, 64, 32)
    """Fully connected: units of each encoder layer; the last one is the embedding."""
    downsample: Literal["max_pool", "stride"] = "max_pool"
    """Convolutional: halve by 2x2 max pooling, or by a third convolution with stride 2."""
    latent_dim: int | None = None
    """Numbers in the embedding, by one more dense layer and one back (none: the encoder's own)."""
    activation: Literal["relu", "gelu", "elu", "leaky_relu", "tanh"] = "relu"
    """Non-linearity of the hidden layers."""
    dropout_rate: float = 0.0
    """Probability of dropping a hidden layer's output, in [0, 1)."""

    def __post_init__(self) -> None:
        _require_sizes("--filters", self.filters, "block", "filter")
        _require_sizes("--hidden-units", self.hidden_units, "layer", "unit")
        if self.latent_dim is not None:
            _require(self.latent_dim >= 1, "--latent-dim", self.latent_dim, "a whole number from 1")
        _require(0 <= self.dropout_rate < 1, "--dropout-rate", self.dropout_rate, "0 <= rate < 1")


@dataclass(frozen=True)
class DataConfig:
    """Data."""

    dataset: str = "mnist_5k"
    """mnist_5k (no download), mnist, fashion_mnist, kmnist, or images that TFDS has prepared."""
    data_dir: str | None = field(default=None, metadata=_CHANGEABLE)
    """Folder of prepared datasets (none: $TFDS_DATA_DIR, else TFDS's ~/tensorflow_datasets)."""
    manual_dir: str | None = field(default=None, metadata=_CHANGEABLE)
    """Folder with the official IDX files, gzipped or not (none: they are downloaded)."""

    def __post_init__(self) -> None:
        known_form = re.fullmatch(r"\w+(/[\w.-]+)?(:[\d.]+)?", self.dataset) is not None
        _require(known_form, "--dataset", repr(self.dataset), "name, name/config or name:version")


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimization."""

    batch_size: int = 256
    """Images in a training step."""
    learning_rate: float = 1e-3
    """AdamW's learning rate at the start."""
    learning_rate_decay: float = 0.96
    """Factor on the learning rate after every --decay-steps steps, in (0, 1]."""
    decay_steps: int = 1000
    """Steps between two decays of the learning rate (a staircase)."""
    weight_decay: float = 1e-5
    """AdamW's decoupled decay, on kernels only, per unit of learning rate."""
    noise_factor: float = 0.0
    """Standard deviation of the Gaussian noise on the input, in units of the pixel range 0..1."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, "--batch-size", self.batch_size, "a whole number from 1")
        _require(_positive(self.learning_rate), "--learning-rate", self.learning_rate, "> 0")
        rate_is_right = 0 < self.learning_rate_decay <= 1
        _require(
            rate_is_right, "--learning-rate-decay", self.learning_rate_decay, "0 < factor <= 1"
        )
        _require(self.decay_steps >= 1, "--decay-steps", self.decay_steps, "a whole number from 1")
        _require_not_negative("--weight-decay", self.weight_decay)
        _require_not_negative("--noise-factor", self.noise_factor)


@dataclass(frozen=True)
class ComputeConfig:
    """Computation."""

    layout: Literal["NHWC", "NCHW"] = field(default="NHWC", metadata=_CHANGEABLE)
    """Order of an image batch's axes inside the model; one checkpoint serves both."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the activations; parameters and sums stay float32."""
    kernels: Literal["auto", "plain", "fast"] = field(default="auto", metadata=_CHANGEABLE)
    """Form of the convolutions: plain XLA, fast on CPUs, or what suits the device (auto)."""
    data_on_device: bool = field(default=False, metadata=_CHANGEABLE)
    """Keep all training images on the device and gather batches there."""
    steps_per_call: int | None = field(default=None, metadata=_CHANGEABLE)
    """Training steps in a call (none: 50; on a CPU 10, 1 if convolutional; 1 to profile)."""
    compilation_cache: str | None = field(default=None, metadata=_CHANGEABLE)
    """Folder that keeps compiled programs, or off (none: flaxae in the user's cache folder)."""

    def __post_init__(self) -> None:
        if self.steps_per_call is not None:
            at_least_one = self.steps_per_call >= 1
            _require(at_least_one, "--steps-per-call", self.steps_per_call, "a whole number from 1")


@dataclass(frozen=True)
class TrainConfig:
    """Train an autoencoder, or go on with the run that the workdir holds."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    workdir: str | None = field(default=None, metadata=_CHANGEABLE)
    """Folder of the run (none: runs/<model>-<dataset>)."""
    epochs: int = field(default=50, metadata=_CHANGEABLE)
    """Passes over the training split, those of an earlier start included."""
    seed: int = 0
    """Decides initial weights, order of examples, noise and dropout; 0 to 2**32 - 1."""
    profile: bool = field(default=False, metadata=_CHANGEABLE)
    """Record a few calls of the first epoch in <workdir>/profile, for XProf or Perfetto."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "--epochs", self.epochs, "a whole number from 1")
        _require(0 <= self.seed < 2**32, "--seed", self.seed, "0 <= seed < 2**32")

    def with_absolute_paths(self) -> "TrainConfig":
        """The same, to be kept in a file that is read from other folders."""
        data = self.data
        folders = {"data_dir": data.data_dir, "manual_dir": data.manual_dir}
        absolute = {k: v and str(Path(v).expanduser().absolute()) for k, v in folders.items()}
        return dataclasses.replace(self, data=dataclasses.replace(data, **absolute))

    def workdir_path(self) -> Path:
        name = self.workdir or f"runs/{self.model.model}-{re.sub('[/:]', '-', self.data.dataset)}"
        return Path(name).expanduser().absolute()


Split = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True)
class EvaluateConfig:
    """Print how well a trained model reconstructs a split; the last line is one JSON object."""

    workdir: str
    """Folder of a run of `train`."""
    split: Split = "test"
    """Which images."""
    checkpoint: str = "best"
    """best (by validation loss), latest, or the number of a step."""

    def __post_init__(self) -> None:
        parse_checkpoint(self.checkpoint)


@dataclass(frozen=True)
class ReconstructConfig:
    """Draw images of a split over their reconstructions."""

    workdir: str
    """Folder of a run of `train`."""
    split: Split = "test"
    """Which images."""
    examples: int = 10
    """Number of images; of each class equally many, as far as that goes."""
    output: str | None = None
    """PNG file to write (none: <workdir>/reconstructions/<split>.png)."""
    checkpoint: str = "best"
    """best (by validation loss), latest, or the number of a step."""

    def __post_init__(self) -> None:
        _require(self.examples >= 1, "--examples", self.examples, "a whole number from 1")
        parse_checkpoint(self.checkpoint)


@dataclass(frozen=True)
class EmbedConfig:
    """Write a split's embedding for TensorBoard, the projector page and Parquet readers."""

    workdir: str
    """Folder of a run of `train`."""
    split: Split = "test"
    """Which images."""
    limit: int | None = None
    """Only the first so many images of the split, from 2 on (none: all of them)."""
    output_dir: str | None = None
    """Folder to write; an earlier export there is replaced (none: <workdir>/embedding)."""
    checkpoint: str = "best"
    """best (by validation loss), latest, or the number of a step."""

    def __post_init__(self) -> None:
        if self.limit is not None:
            _require(self.limit >= 2, "--limit", self.limit, "2 or more: viewers refuse one point")
        parse_checkpoint(self.checkpoint)

    def output_path(self) -> Path:
        # Resolved, so that a link as --output-dir stays one and what it points to is replaced.
        return Path(self.output_dir or f"{self.workdir}/embedding").expanduser().resolve()


def parse_checkpoint(text: str) -> str | int:
    """The value of --checkpoint: "best", "latest", or a step as a number.

    Raises:
        InputError: it is none of them.
    """
    if text in ("best", "latest"):
        return text
    _require(text.isdecimal(), "--checkpoint", text, "best, latest, or the number of a step")
    return int(text)


def to_json(config: Any) -> str:
    """A config dataclass as indented JSON text with a final newline."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """The inverse of `dataclasses.asdict`, for `cls` made of scalars, tuples and dataclasses.

    What does not change a run's result may be missing, as from a run of an older flaxae.

    Raises:
        InputError: a field is missing, unknown, or out of range.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    needed = {name for name, f in fields.items() if not f.metadata.get("changeable", False)}
    if not needed <= set(values) <= set(fields):
        missing, unknown = sorted(needed - set(values)), sorted(set(values) - set(fields))
        raise InputError(
            f"{cls.__name__} lacks the fields {missing} and does not know {unknown}: "
            "the file was written by another version of flaxae, or edited"
        )
    return cls(**{name: _from_json(fields[name], value) for name, value in values.items()})


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Each flag that makes `new` another run than `old`, as "--flag old there, new here"."""
    return [
        f"--{name.replace('_', '-')} {_flag_text(before)} there, {_flag_text(now)} here"
        for name, before, now in _flat_pairs(old, new)
        if before != now
    ]


def _flat_pairs(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    pairs: list[tuple[str, Any, Any]] = []
    for f in dataclasses.fields(old):
        before, now = getattr(old, f.name), getattr(new, f.name)
        if dataclasses.is_dataclass(before):
            pairs += _flat_pairs(before, now)
        elif not f.metadata.get("changeable", False):
            pairs.append((f.name, before, now))
    return pairs


def _flag_text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _from_json(f: dataclasses.Field[Any], value: Any) -> Any:
    if dataclasses.is_dataclass(f.type) and isinstance(f.type, type):
        return from_dict(f.type, value)
    value = tuple(value) if isinstance(value, list) else value
    if not _fits(f.type, value):
        raise InputError(f"{f.name} is {value!r}; expected {getattr(f.type, '__name__', f.type)}")
    return value


def _fits(kind: Any, value: Any) -> bool:
    """Whether `value` is of the type annotation `kind`, for the annotations used in this file."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_fits(choice, value) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(get_args(kind)[0], each) for each in value)
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _positive(value: float) -> bool:
    return 0 < value < math.inf


def _require(holds: bool, flag: str, value: Any, expected: str) -> None:
    if not holds:
        raise InputError(f"{flag} got {value}; expected {expected}")


def _require_not_negative(flag: str, value: float) -> None:
    _require(value == 0 or _positive(value), flag, value, "0 or more")


def _require_sizes(flag: str, sizes: tuple[int, ...], place: str, unit: str) -> None:
    if not sizes:
        raise InputError(
            f"{flag} got no number; give one for each {place}, for example {flag} 16 8"
        )
    for position, size in enumerate(sizes, start=1):
        if size < 1:
            raise InputError(
                f"{flag} got {size} at position {position}; every {place} needs at least one {unit}"
            )
