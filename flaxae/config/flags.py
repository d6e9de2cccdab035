"""From flags by name, and from presets, to a config."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from flaxae.config import TrainConfig, is_group
from flaxae.config.presets import PRESETS
from flaxae.errors import InputError, option_types, require, similar
from flaxae.models import MODELS
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ModelConfig


def preset(name: str, **changes: Any) -> TrainConfig:
    """The config of a preset, with changes by the names of flags.

    Args:
        name: A key of `flaxae.config.presets.PRESETS`, as original or standard.
        changes: Flags that win over those of the preset, as `epochs=3` or `latent_dim=2`.

    Raises:
        InputError: there is no such preset, or a flag is unknown or out of range.

    Example:
        >>> flaxae.preset("original", epochs=3).optimizer.batch_size
        256
    """
    return from_flags({"preset": name, **changes})


def from_flags(flags: Mapping[str, Any]) -> TrainConfig:
    """A config from flags by name, as {"model": "fully_connected", "batch_size": 64}.

    Raises:
        InputError: a flag is unknown, belongs to another model, or has a value out of range.
    """
    flags = _with_preset(flags)
    name = flags.pop("model", ConvolutionalConfig.name)
    require(name in MODELS, "--model", name, f"one of {', '.join(MODELS)}")
    model = MODELS[name]
    known: set[str] = set()
    parts: dict[str, Any] = {}
    for section, cls in sections(model).items():
        names = {f.name for f in dataclasses.fields(cls)}
        values = {name: flags[name] for name in names & set(flags)}
        recipe = model.recipe if section == "optimizer" else {}
        parts[section] = cls(**{**recipe, **values})
        known |= names
    own = {name: flags[name] for name in own_fields() if name in flags}
    known |= set(own_fields())
    for name in flags:
        if name not in known:
            _refuse_flag(name, model, known)
    return TrainConfig(**parts, **own)


def changed_flags(config: TrainConfig) -> dict[str, Any]:
    """The flags, by name, that make `config` of the defaults of its model."""
    default = from_flags({"model": config.model.name})
    before, now = flag_values(default), flag_values(config)
    return {name: value for name, value in now.items() if value != before[name]}


def flag_values(config: Any) -> dict[str, Any]:
    """The value of every flag by name, the model among them."""
    found: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if isinstance(value, ModelConfig):
            found["model"] = value.name
        found |= flag_values(value) if dataclasses.is_dataclass(value) else {f.name: value}
    return found


def sections(model: type[ModelConfig]) -> dict[str, type[Any]]:
    """The groups of options of a run of `model`, by the field of `TrainConfig`."""
    groups = {name: kind for name, kind in option_types(TrainConfig).items() if is_group(kind)}
    return groups | {"model": model}


def own_fields() -> list[str]:
    """The options of `TrainConfig` that belong to no group."""
    return [name for name, kind in option_types(TrainConfig).items() if not is_group(kind)]


def _with_preset(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a preset, and `flags`, which win.

    With another model than the preset's, what the preset says of its own model is left out.
    """
    given = dict(flags)
    name = given.pop("preset", None)
    if name is None:
        return given
    require(name in PRESETS, "--preset", name, f"one of {', '.join(PRESETS)}")
    values = dict(PRESETS[name].flags)
    model = given.get("model", values.get("model", ConvolutionalConfig.name))
    others = {f.name for other in MODELS.values() for f in dataclasses.fields(other)}
    own = {f.name for f in dataclasses.fields(MODELS[model])} if model in MODELS else others
    values = {name: value for name, value in values.items() if name not in others - own}
    return values | given


def _refuse_flag(name: str, model: type[ModelConfig], known: Iterable[str]) -> None:
    flag = f"--{name.replace('_', '-')}"
    owners = [n for n, c in MODELS.items() if name in {f.name for f in dataclasses.fields(c)}]
    if owners:
        raise InputError(
            f"{flag} belongs to --model {' or '.join(owners)}, and the model is {model.name}; "
            f"leave it out, or give --model {owners[0]}"
        )
    flags = [f"--{each.replace('_', '-')}" for each in known]
    raise InputError(f"{flag} is no flag of train{similar(flag, flags)}")
