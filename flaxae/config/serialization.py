"""A config as the JSON of config.json and back, and how two configs differ."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from flaxae.config import TrainConfig, is_group
from flaxae.errors import InputError, checked_option, option_types
from flaxae.models import MODELS
from flaxae.models.options import ModelConfig

SCHEMA = 6  # of config.json; 1 is that of flaxae 0.1, which had no such number
_NOTHING = "not given"  # how a message says that a flag has no value
Config = TypeVar("Config")


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
        values, schema = _from_schema_1(values), 2
    if type(schema) is int and 2 <= schema <= SCHEMA:
        values = _with_new_options(values, schema)
    else:
        raise InputError(
            f"its schema is {schema!r}, and this version of flaxae reads 1 to {SCHEMA}; "
            "read it with the version that wrote it, or upgrade: pip install -U flaxae"
        )
    return _from_dict(TrainConfig, values)


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Each flag that makes `new` another run than `old`, as "--flag old there, new here"."""
    before, now = dict(_fixed_values(old)), dict(_fixed_values(new))
    return [
        f"--{name.replace('_', '-')} {before.get(name, _NOTHING)} there, "
        f"{now.get(name, _NOTHING)} here"
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
            yield f.name, _as_text(value)


def _as_text(value: Any) -> str:
    if value is None or value == ():
        return _NOTHING
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
    return _from_dict(kind, value) if is_group(kind) else checked_option(name, value, kind)


# What flaxae 0.1 did, and what later schemas could not do yet.
_SCHEDULE_OF_SCHEMA_1 = {
    "schedule": "staircase",
    "warmup": 0.0,
    "schedule_epochs": None,
    "final_learning_rate": 0.0,
    "beta2": 0.999,
    "clip_norm": None,
    "ema_decay": 0.0,
}
_NEW_IN = {
    3: {
        "model": ("dense_units",),
        "data": ("train_limit",),
        "objective": ("corrupt", "rotation", "shear", "scaling", "translation", "mask_size"),
    },
    4: {
        "model": ("latent_noise",),
        "data": (
            "image_size",
            "channels",
            "fit",
            "background",
            "range",
            "labels",
            "targets",
            "images_key",
            "labels_key",
        ),
    },
    5: {"data": ("classes",)},
    6: {"objective": ("ssim_weight",)},
}


def _with_new_options(values: Mapping[str, Any], schema: int) -> dict[str, Any]:
    """Adds the options that are newer than the schema; their defaults do what was done then."""
    kinds = option_types(TrainConfig)
    result = dict(values)
    new = [item for version in _NEW_IN if version > schema for item in _NEW_IN[version].items()]
    for group, names in new:
        old = result.get(group)
        if not isinstance(old, dict):
            continue  # which `_from_dict` refuses
        kind = MODELS.get(str(old.get("name")), ModelConfig) if group == "model" else kinds[group]
        defaults = {f.name: f.default for f in dataclasses.fields(kind) if f.name in names}
        result[group] = {**defaults, **old}
    return result


def _from_schema_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """Moves the fields of flaxae 0.1 to where schema 2 has them, and adds what was fixed then."""
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
    optimizer |= _SCHEDULE_OF_SCHEMA_1
    moved = {"model": {"name": name, **model}, "objective": objective, "optimizer": optimizer}
    return {**values, **moved, "data": old["data"], "compute": compute, "device": device}
