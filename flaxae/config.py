"""The config of a run: frozen dataclasses, from flags and to JSON and back.

Every room keeps its options beside what they are for; this module puts them together. It imports
nothing heavy, because every command reads it, `--help` included.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flaxae.data import DataConfig
from flaxae.errors import InputError, Options, checked_option, option_types, require
from flaxae.models import MODELS
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig, ModelConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import DeviceConfig, OptimizerConfig

SCHEMA = 2  # of config.json; 1 is that of flaxae 0.1, which had no such number
Config = TypeVar("Config")


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
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    workdir: str | None = field(default=None, metadata={"changeable": True})
    """Folder of the run (none: runs/<model>-<dataset>)."""
    epochs: int = field(default=50, metadata={"changeable": True})
    """Passes over the training split, those of an earlier start included."""
    seed: int = 0
    """Seed of initial weights, order of examples, noise and dropout; 0 to 2**32 - 1."""
    profile: bool = field(default=False, metadata={"changeable": True})
    """Record a few calls of the first epoch in <workdir>/profile, for XProf or Perfetto."""

    def check(self) -> None:
        require(self.epochs >= 1, "--epochs", self.epochs, "a whole number from 1")
        require(0 <= self.seed < 2**32, "--seed", self.seed, "0 <= seed < 2**32")
        self.optimizer.refuse_beyond_horizon(self.epochs)
        known = MODELS.get(self.model.name) is type(self.model)
        expected = "a class that flaxae.models.MODELS has under its name"
        require(known, "model", type(self.model).__name__, expected)

    def with_absolute_paths(self) -> "TrainConfig":
        """The same, to be kept in a file that is read from other folders."""
        data = self.data
        folders = {"data_dir": data.data_dir, "manual_dir": data.manual_dir}
        absolute = {k: v and str(Path(v).expanduser().absolute()) for k, v in folders.items()}
        return dataclasses.replace(self, data=dataclasses.replace(data, **absolute))

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

    def workdir_path(self) -> Path:
        """The absolute path of the run's folder."""
        name = self.workdir or f"runs/{self.model.name}-{re.sub('[/:]', '-', self.data.dataset)}"
        return Path(name).expanduser().absolute()


def from_flags(flags: Mapping[str, Any]) -> TrainConfig:
    """A config from flags by name, as {"model": "fully_connected", "batch_size": 64}.

    Raises:
        InputError: a flag is unknown, belongs to another model, or has a value out of range.
    """
    model = MODELS[flags.get("model", ConvolutionalConfig.name)]
    known = {"model"}
    parts: dict[str, Any] = {}
    for section, cls in sections(model).items():
        names = {f.name for f in dataclasses.fields(cls)} & set(flags)
        parts[section] = cls(**{name: flags[name] for name in names})
        known |= names
    own = {name: flags[name] for name in own_fields() if name in flags}
    for name in flags:
        if name not in known | set(own):
            _refuse_flag(name, model)
    return TrainConfig(**parts, **own)


def sections(model: type[ModelConfig]) -> dict[str, type[Any]]:
    """The groups of options of a run of `model`, by the field of `TrainConfig`."""
    groups = {name: kind for name, kind in option_types(TrainConfig).items() if _is_group(kind)}
    return groups | {"model": model}


def own_fields() -> list[str]:
    """The options of `TrainConfig` that belong to no group."""
    return [name for name, kind in option_types(TrainConfig).items() if not _is_group(kind)]


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


def to_json(config: TrainConfig) -> str:
    """The config as indented JSON text with a final newline."""
    values = {"schema": SCHEMA, **dataclasses.asdict(config)}
    values["model"] = {"name": config.model.name, **values["model"]}
    return json.dumps(values, indent=2) + "\n"


def from_json(text: str) -> TrainConfig:
    """The inverse of `to_json`; also reads the config of flaxae 0.1.

    Raises:
        InputError: a field is missing, unknown, of another type or out of range, or a later
            version wrote the file.
        ValueError: the text is no JSON.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise InputError(f"expected a JSON object, got {text[:40]!r}")
    schema = values.pop("schema", None)
    if schema is None:
        values = _from_schema_1(values)
    elif type(schema) is not int or schema != SCHEMA:
        raise InputError(
            f"its schema is {schema!r}, and this version of flaxae reads 1 and {SCHEMA}; "
            "read it with the version that wrote it, or upgrade: pip install -U flaxae"
        )
    return _from_dict(TrainConfig, values)


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Each flag that makes `new` another run than `old`, as "--flag old there, new here"."""
    before, now = dict(_fixed_values(old)), dict(_fixed_values(new))
    return [
        f"--{name.replace('_', '-')} {before.get(name, 'absent')} there, "
        f"{now.get(name, 'absent')} here"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _fixed_values(config: Any) -> Iterator[tuple[str, str]]:
    """Flags and values that make a run this run, as text."""
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if isinstance(value, ModelConfig):
            yield "model", value.name
        if dataclasses.is_dataclass(value):
            yield from _fixed_values(value)
        elif not f.metadata.get("changeable", False):
            yield f.name, " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _from_dict(cls: type[Config], values: Any) -> Config:
    """A config dataclass from its `asdict`; every type is checked.

    A field that does not change a run's result may be missing.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    needed = {name for name, f in fields.items() if not f.metadata.get("changeable", False)}
    found = set(values) if isinstance(values, dict) else set()
    if not isinstance(values, dict) or not needed <= found <= set(fields):
        missing, unknown = sorted(needed - found), sorted(found - set(fields))
        raise InputError(
            f"{cls.__name__} lacks the fields {missing} and does not know {unknown}: "
            "the file was written by another version of flaxae, or edited"
        )
    kinds = option_types(cls)
    return cls(**{name: _field_value(name, value, kinds[name]) for name, value in values.items()})


def _field_value(name: str, value: Any, kind: Any) -> Any:
    """The value of a field; a group of options becomes its dataclass."""
    if kind is ModelConfig:
        model = value.get("name") if isinstance(value, dict) else None
        if not isinstance(model, str) or model not in MODELS:
            raise InputError(f"model is {model!r}; expected one of {', '.join(MODELS)}")
        return _from_dict(MODELS[model], {k: v for k, v in value.items() if k != "name"})
    return _from_dict(kind, value) if _is_group(kind) else checked_option(name, value, kind)


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _refuse_flag(name: str, model: type[ModelConfig]) -> None:
    flag = f"--{name.replace('_', '-')}"
    owners = [n for n, c in MODELS.items() if name in {f.name for f in dataclasses.fields(c)}]
    if owners:
        raise InputError(
            f"{flag} belongs to --model {' or '.join(owners)}, and the model is {model.name}; "
            f"leave it out, or give --model {owners[0]}"
        )
    raise InputError(f"{flag} is no flag of train")


def _from_schema_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the fields of flaxae 0.1 to where they are now; those that are new get defaults."""
    groups = ("model", "optimizer", "compute", "data")
    if not all(isinstance(values.get(name), dict) for name in groups):
        return dict(values)  # which `_from_dict` refuses
    old = {name: dict(values[name]) for name in groups}
    model = old["model"]
    name = model.pop("model", None)
    if name in MODELS:  # else `_from_dict` refuses it
        own = {f.name for f in dataclasses.fields(MODELS[name])}
        foreign = {"filters", "downsample", "hidden_units"} - own
        model = {k: v for k, v in model.items() if k not in foreign}
    compute, device = old["compute"], {}
    for option in ("data_on_device", "steps_per_call"):
        if option in compute:
            device[option] = compute.pop(option)
    compute.pop("compilation_cache", None)  # now a flag of the command, not of the run
    optimizer = old["optimizer"]
    objective = {"loss": "bce", "noise_factor": optimizer.pop("noise_factor", None)}
    known = {"batch_size", "learning_rate", "learning_rate_decay", "decay_steps", "weight_decay"}
    added = [f for f in dataclasses.fields(OptimizerConfig) if f.name not in known]
    optimizer |= {f.name: f.default for f in added}
    moved = {"model": {"name": name, **model}, "objective": objective, "optimizer": optimizer}
    return {**values, **moved, "data": old["data"], "compute": compute, "device": device}
