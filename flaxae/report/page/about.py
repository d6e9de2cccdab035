"""Where a run comes from: its command, config, data and versions, as texts."""

import dataclasses
import platform
import shlex
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

import flaxae
from flaxae.config import TrainConfig
from flaxae.config.flags import changed_flags

_PACKAGES = ("jax", "flax", "optax", "numpy")
_GROUPS = ("model", "data", "objective", "optimizer", "compute", "device")


def command(config: TrainConfig) -> str:
    """The command that trains such a run; flags that have their defaults are left out."""
    words = ["python", "run.py", "train"]
    for name, value in changed_flags(config).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif value is not None:
            words += [flag, *(str(each) for each in _several(value))]
    return " ".join(map(shlex.quote, words))


def config_facts(config: TrainConfig) -> dict[str, dict[str, str]]:
    """Every option with its value, by group."""
    groups: dict[str, dict[str, Any]] = {
        group: dataclasses.asdict(getattr(config, group)) for group in _GROUPS
    }
    groups["model"] = {"name": config.model.name, **groups["model"]}
    own = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    groups["run"] = {name: value for name, value in own.items() if name not in _GROUPS}
    return {
        f"Config: {group}": {name: shown(value) for name, value in values.items()}
        for group, values in groups.items()
    }


def version_facts() -> dict[str, str]:
    """The versions that have made the page."""
    found = {"flaxae": flaxae.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    device = jax.devices()[0]
    return found | {"device": f"{device.device_kind} ({device.platform})"}


def made() -> str:
    """The last line of a page."""
    return f"Made by flaxae {flaxae.__version__} on {time.strftime('%Y-%m-%d')}."


def shown(value: Any) -> str:
    """The value of an option as text."""
    if value is None:
        return "none"
    return " ".join(map(str, _several(value))) or "none"


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
