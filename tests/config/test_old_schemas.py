"""Configs that earlier versions wrote are read."""

import json

import pytest

from flaxae.config import TrainConfig
from flaxae.config.serialization import from_json, to_json
from flaxae.data import DataConfig
from flaxae.errors import InputError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import DeviceConfig, OptimizerConfig

SCHEMA_1 = {
    "model": {
        "model": "fully_connected",
        "filters": [16, 8, 8],
        "hidden_units": [8, 4],
        "downsample": "max_pool",
        "latent_dim": None,
        "activation": "gelu",
        "dropout_rate": 0.1,
    },
    "data": {"dataset": "kmnist", "data_dir": "/data", "manual_dir": None},
    "optimizer": {
        "batch_size": 64,
        "learning_rate": 0.002,
        "learning_rate_decay": 0.9,
        "decay_steps": 500,
        "weight_decay": 0.0001,
        "noise_factor": 0.2,
    },
    "compute": {
        "layout": "NCHW",
        "dtype": "float32",
        "kernels": "fast",
        "data_on_device": True,
        "steps_per_call": 5,
        "compilation_cache": "off",
    },
    "workdir": "w",
    "epochs": 9,
    "seed": 2,
    "profile": False,
}


def test_the_config_of_the_version_before_is_read():
    config = from_json(json.dumps(SCHEMA_1))
    assert config == TrainConfig(
        model=FullyConnectedConfig(hidden_units=(8, 4), activation="gelu", dropout_rate=0.1),
        data=DataConfig(dataset="kmnist", data_dir="/data"),
        objective=ObjectiveConfig(noise_factor=0.2),
        optimizer=OptimizerConfig(
            batch_size=64,
            learning_rate=0.002,
            schedule="staircase",
            warmup=0.0,
            learning_rate_decay=0.9,
            decay_steps=500,
            weight_decay=0.0001,
            beta2=0.999,
        ),
        compute=ComputeConfig(layout="NCHW", kernels="fast"),
        device=DeviceConfig(data_on_device=True, steps_per_call=5),
        workdir="w",
        epochs=9,
        seed=2,
    )
    broken = {**SCHEMA_1, "model": {**SCHEMA_1["model"], "model": "recurrent"}}
    with pytest.raises(InputError, match="model is 'recurrent'"):
        from_json(json.dumps(broken))


# As flaxae 0.2 wrote it, except the model's own options.
SCHEMA_2 = {
    "schema": 2,
    "model": {"name": "", "latent_dim": 6, "activation": "relu", "dropout_rate": 0.1},
    "data": {"dataset": "kmnist", "data_dir": "/data", "manual_dir": None},
    "objective": {"loss": "mse", "noise_factor": 0.2},
    "optimizer": {
        "batch_size": 256,
        "learning_rate": 0.001,
        "schedule": "staircase",
        "warmup": 0.0,
        "schedule_epochs": None,
        "final_learning_rate": 0.0,
        "learning_rate_decay": 0.96,
        "decay_steps": 1000,
        "weight_decay": 1e-05,
        "beta2": 0.999,
        "clip_norm": None,
        "ema_decay": 0.0,
    },
    "compute": {"layout": "NCHW", "dtype": "float32", "kernels": "auto"},
    "device": {"data_on_device": False, "steps_per_call": 5},
    "workdir": "w",
    "epochs": 9,
    "seed": 2,
    "profile": False,
}


@pytest.mark.parametrize(
    ("own", "model"),
    [
        ({"filters": [5, 4], "downsample": "stride"}, ConvolutionalConfig),
        ({"hidden_units": [8, 4]}, FullyConnectedConfig),
    ],
)
def test_a_config_of_schema_2_is_read(own, model):
    """What it has no word for is as it was then: no corruption, no dense layer, all images."""
    values = {**SCHEMA_2, "model": {**SCHEMA_2["model"], "name": model.name, **own}}
    config = from_json(json.dumps(values))
    sizes = {name: tuple(v) if isinstance(v, list) else v for name, v in own.items()}
    assert config == TrainConfig(
        model=model(latent_dim=6, activation="relu", dropout_rate=0.1, **sizes),
        data=DataConfig(dataset="kmnist", data_dir="/data", train_limit=None),
        objective=ObjectiveConfig(loss="mse", noise_factor=0.2, corrupt=()),
        optimizer=OptimizerConfig(
            batch_size=256,
            learning_rate=1e-3,
            schedule="staircase",
            warmup=0.0,
            final_learning_rate=0.0,
            learning_rate_decay=0.96,
            decay_steps=1000,
            weight_decay=1e-5,
            beta2=0.999,
        ),
        compute=ComputeConfig(layout="NCHW"),
        device=DeviceConfig(data_on_device=False, steps_per_call=5),
        workdir="w",
        epochs=9,
        seed=2,
    )
    assert model is FullyConnectedConfig or config.model.dense_units == ()
    assert from_json(to_json(config)) == config
    for group, name in (("optimizer", "beta2"), ("objective", "loss"), ("model", "activation")):
        lacking = {**values, group: {k: v for k, v in values[group].items() if k != name}}
        with pytest.raises(InputError, match=rf"lacks the fields \['{name}'\]"):
            from_json(json.dumps(lacking))
