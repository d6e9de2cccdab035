import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flaxae.config import (
    ComputeConfig,
    DataConfig,
    EvaluateConfig,
    ModelConfig,
    OptimizerConfig,
    ReconstructConfig,
    TrainConfig,
    differences,
    from_dict,
    to_json,
)
from flaxae.errors import InputError

OTHER = TrainConfig(
    model=ModelConfig("fully_connected", (4,), (5, 6), "stride", 7, "gelu", 0.5),
    data=DataConfig("kmnist", "data", "manual"),
    optimizer=OptimizerConfig(8, 0.5, 0.5, 10, 0.25, 0.125),
    compute=ComputeConfig("NCHW", "bfloat16", "plain", True, 3, "cache"),
    workdir="elsewhere",
    epochs=3,
    seed=4,
    profile=True,
)


@pytest.mark.parametrize("config", [TrainConfig(), OTHER])
def test_json_and_back(config):
    assert from_dict(TrainConfig, json.loads(to_json(config))) == config


def test_other_differs_in_every_field():
    """So that the round trip above cannot pass by default values."""
    old, new = dataclasses.asdict(TrainConfig()), dataclasses.asdict(OTHER)
    for name, value in old.items():
        pairs = (
            zip(value.items(), new[name].items(), strict=True) if isinstance(value, dict) else []
        )
        assert all(a != b for a, b in pairs)
        assert new[name] != value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelConfig(filters=(16, 0)), "--filters got 0 at position 2; every block needs"),
        (lambda: ModelConfig(filters=()), "--filters got no number"),
        (lambda: ModelConfig(hidden_units=(-1,)), "--hidden-units got -1 at position 1"),
        (lambda: ModelConfig(latent_dim=0), "--latent-dim got 0; expected a whole number from 1"),
        (lambda: ModelConfig(dropout_rate=1.0), "--dropout-rate got 1.0; expected 0 <= rate < 1"),
        (lambda: DataConfig(dataset="../mnist"), "--dataset got '../mnist'; expected name"),
        (lambda: OptimizerConfig(batch_size=0), "--batch-size got 0"),
        (lambda: OptimizerConfig(learning_rate=float("nan")), "--learning-rate got nan"),
        (lambda: OptimizerConfig(learning_rate_decay=1.5), "--learning-rate-decay got 1.5"),
        (lambda: OptimizerConfig(decay_steps=0), "--decay-steps got 0"),
        (lambda: OptimizerConfig(weight_decay=-1.0), "--weight-decay got -1.0; expected 0 or more"),
        (lambda: OptimizerConfig(noise_factor=float("inf")), "--noise-factor got inf"),
        (lambda: ComputeConfig(steps_per_call=0), "--steps-per-call got 0"),
        (lambda: TrainConfig(epochs=0), "--epochs got 0"),
        (lambda: TrainConfig(seed=2**32), "--seed got 4294967296"),
        (
            lambda: EvaluateConfig("w", checkpoint="newest"),
            "--checkpoint got newest; expected best",
        ),
        (lambda: ReconstructConfig("w", examples=0), "--examples got 0"),
    ],
)
def test_a_value_out_of_range_is_named(make, message):
    with pytest.raises(InputError, match=f"^{message[:20]}") as error:
        make()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": "many"}, "epochs is 'many'; expected int"),
        ({"epochs": True}, "epochs is True"),
        ({"workdir": 5}, "workdir is 5"),
        ({"color": "blue"}, r"lacks the fields \[\] and does not know \['color'\]"),
    ],
)
def test_an_edited_file_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        from_dict(TrainConfig, dataclasses.asdict(TrainConfig()) | change)


def test_a_run_of_an_older_version_may_lack_what_changes_no_result():
    values = dataclasses.asdict(TrainConfig())
    del values["compute"]["compilation_cache"]
    assert from_dict(TrainConfig, values) == TrainConfig()
    del values["compute"]["dtype"]
    with pytest.raises(InputError, match=r"lacks the fields \['dtype'\]"):
        from_dict(TrainConfig, values)


def test_an_edited_choice_is_refused():
    values = dataclasses.asdict(ModelConfig()) | {"model": "recurrent"}
    with pytest.raises(InputError, match="model is 'recurrent'"):
        from_dict(ModelConfig, values)


def test_differences_name_flags_and_both_values():
    old = TrainConfig()
    new = replace(old, model=ModelConfig(filters=(8, 8)), seed=1)
    assert differences(old, new) == [
        "--filters 16 8 8 there, 8 8 here",
        "--seed 0 there, 1 here",
    ]


def test_what_does_not_change_the_result_may_differ():
    old = TrainConfig()
    new = replace(
        old,
        epochs=99,
        workdir="elsewhere",
        data=DataConfig(data_dir="there", manual_dir="here"),
        compute=ComputeConfig(layout="NCHW", kernels="plain"),
    )
    assert differences(old, new) == []


def test_default_workdir_names_model_and_dataset():
    config = TrainConfig(data=DataConfig(dataset="emnist/balanced:3.1.0"))
    assert config.workdir_path() == Path("runs/convolutional-emnist-balanced-3.1.0").absolute()
