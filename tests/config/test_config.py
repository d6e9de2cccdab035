import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flaxae.commands.evaluate import Options as EvaluateOptions
from flaxae.commands.reconstruct import Options as ReconstructOptions
from flaxae.config import TrainConfig
from flaxae.config.flags import from_flags
from flaxae.config.serialization import differences, from_json, to_json
from flaxae.data import DataConfig
from flaxae.errors import InputError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import DeviceConfig, OptimizerConfig

OTHER = TrainConfig(
    model=ConvolutionalConfig(
        filters=(4,),
        downsample="stride",
        dense_units=(9,),
        latent_dim=7,
        latent_noise=0.25,
        activation="gelu",
        dropout_rate=0.5,
    ),
    data=DataConfig(
        dataset="kmnist",
        data_dir="data",
        manual_dir="manual",
        classes=("cat", "2"),
        train_limit=70,
        image_size=(5, 6),
        channels=3,
        fit="pad",
        background=(1, 2, 3),
        range=(0.5, 4095.0),
        labels="labels.csv",
        targets="clean",
        images_key="scans",
        labels_key="kinds",
        bad_files=0.5,
        store_dir="store",
    ),
    objective=ObjectiveConfig(
        loss="l1",
        ssim_weight=0.75,
        noise_factor=0.125,
        corrupt=("mask", "affine"),
        rotation=1.5,
        shear=2.5,
        scaling=0.25,
        translation=0.5,
        mask_size=0.75,
    ),
    optimizer=OptimizerConfig(
        batch_size=8,
        learning_rate=0.5,
        schedule="constant",
        warmup=0.25,
        schedule_epochs=7,
        final_learning_rate=0.01,
        learning_rate_decay=0.5,
        decay_steps=10,
        weight_decay=0.25,
        beta2=0.5,
        clip_norm=1.5,
        ema_decay=0.9,
    ),
    compute=ComputeConfig(layout="NCHW", dtype="bfloat16", kernels="plain"),
    device=DeviceConfig(data_on_device="on", steps_per_call=3, devices=2),
    workdir="elsewhere",
    epochs=3,
    seed=4,
    full_disk_minutes=5.0,
    scoring=True,
    profile=True,
)
CONNECTED = TrainConfig(model=FullyConnectedConfig(hidden_units=(5, 6)))
AUTO = TrainConfig(model=ConvolutionalConfig(filters="auto"))


@pytest.mark.parametrize("config", [TrainConfig(), OTHER, CONNECTED, AUTO])
def test_json_round_trip(config):
    assert from_json(to_json(config)) == config


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
        (
            lambda: ConvolutionalConfig(filters=(16, 0)),
            "--filters got 0 at position 2; every block needs",
        ),
        (lambda: ConvolutionalConfig(filters=()), "--filters got no number"),
        (lambda: FullyConnectedConfig(hidden_units=(-1,)), "--hidden-units got -1 at position 1"),
        (
            lambda: FullyConnectedConfig(hidden_units=(2,) * 1000),
            "--hidden-units got 1,000 numbers; expected at most 100",
        ),
        (
            lambda: ConvolutionalConfig(latent_dim=0),
            "--latent-dim got 0; expected a whole number from 1",
        ),
        (
            lambda: ConvolutionalConfig(dropout_rate=1.0),
            "--dropout-rate got 1.0; expected 0 <= rate < 1",
        ),
        (lambda: DataConfig(dataset="a b"), "--dataset got 'a b'; expected name"),
        (lambda: OptimizerConfig(batch_size=0), "--batch-size got 0"),
        (lambda: OptimizerConfig(learning_rate=float("nan")), "--learning-rate got nan"),
        (lambda: OptimizerConfig(learning_rate_decay=1.5), "--learning-rate-decay got 1.5"),
        (lambda: OptimizerConfig(decay_steps=0), "--decay-steps got 0"),
        (
            lambda: OptimizerConfig(decay_steps=2**31),
            "--decay-steps got 2147483648; expected a whole number from 1, below 2",
        ),
        (
            lambda: OptimizerConfig(weight_decay=-1.0),
            "--weight-decay got -1.0; expected 0 <= decay < 3.4e38",
        ),
        (
            lambda: OptimizerConfig(weight_decay=1e300),
            "--weight-decay got 1e+300; expected 0 <= decay < 3.4e38",
        ),
        (
            lambda: OptimizerConfig(learning_rate=1e39),
            "--learning-rate got 1e+39; expected > 0, < 3.4e38",
        ),
        (lambda: ObjectiveConfig(noise_factor=float("inf")), "--noise-factor got inf"),
        (
            lambda: ObjectiveConfig(ssim_weight=-0.1),
            "--ssim-weight got -0.1; expected 0 <= weight < 3.4e38",
        ),
        (lambda: DeviceConfig(steps_per_call=0), "--steps-per-call got 0"),
        (
            lambda: OptimizerConfig(schedule="linear"),
            "--schedule got linear; expected one",
        ),
        (lambda: OptimizerConfig(warmup=1.0), "--warmup got 1.0; expected 0 <= fraction < 1"),
        (lambda: OptimizerConfig(schedule_epochs=0), "--schedule-epochs got 0"),
        (lambda: OptimizerConfig(final_learning_rate=1.0), "--final-learning-rate got 1.0; expect"),
        (lambda: OptimizerConfig(beta2=1.0), "--beta2 got 1.0; expected 0 <= decay < 1"),
        (lambda: OptimizerConfig(clip_norm=0.0), "--clip-norm got 0.0; expected > 0, < 3.4e38"),
        (lambda: OptimizerConfig(ema_decay=1.0), "--ema-decay got 1.0; expected 0 <= decay < 1"),
        (lambda: ObjectiveConfig(loss="hinge"), "--loss got hinge; expected one of bce, mse, l1"),
        (
            lambda: ObjectiveConfig(corrupt=("mask", "blur")),
            "--corrupt got mask blur; expected names among affine, shift, mask, each at most once",
        ),
        (
            lambda: ObjectiveConfig(corrupt=("mask", "affine", "mask")),
            "--corrupt got mask affine mask; expected names",
        ),
        (lambda: ObjectiveConfig(rotation=-1.0), "--rotation got -1.0; expected 0 to 180 degrees"),
        (lambda: ObjectiveConfig(rotation=180.5), "--rotation got 180.5"),
        (lambda: ObjectiveConfig(rotation=float("nan")), "--rotation got nan"),
        (lambda: ObjectiveConfig(shear=-1.0), "--shear got -1.0; expected 0 <= degrees < 90"),
        (lambda: ObjectiveConfig(shear=90.0), "--shear got 90.0"),
        (lambda: ObjectiveConfig(scaling=-0.1), "--scaling got -0.1; expected 0 <= fraction < 1"),
        (lambda: ObjectiveConfig(scaling=1.0), "--scaling got 1.0"),
        (lambda: ObjectiveConfig(translation=-0.1), "--translation got -0.1; expected 0 to 1"),
        (lambda: ObjectiveConfig(translation=1.1), "--translation got 1.1"),
        (lambda: ObjectiveConfig(mask_size=0.0), "--mask-size got 0.0; expected 0 < fraction <= 1"),
        (lambda: ObjectiveConfig(mask_size=1.1), "--mask-size got 1.1"),
        (
            lambda: DataConfig(range=(12345.0, 1e31)),
            "--range got 12345.0 1e+31; expected two numbers between -1e30 and 1e30, the smaller",
        ),
        (lambda: DataConfig(train_limit=0), "--train-limit got 0; expected a whole number from 1"),
        (lambda: DataConfig(train_limit=-5), "--train-limit got -5"),
        (
            lambda: ConvolutionalConfig(dense_units=(8, 0)),
            "--dense-units got 0 at position 2; every layer needs at least one unit",
        ),
        (lambda: TrainConfig(epochs=0), "--epochs got 0"),
        (lambda: TrainConfig(seed=2**32), "--seed got 4294967296"),
        (
            lambda: EvaluateOptions(workdir="w", checkpoint="newest"),
            "--checkpoint got newest; expected best",
        ),
        (lambda: ReconstructOptions(workdir="w", examples=0), "--examples got 0"),
    ],
)
def test_a_value_out_of_range_is_named(make, message):
    with pytest.raises(InputError, match=f"^{message[:20]}") as error:
        make()
    assert str(error.value).startswith(message)


def edited(path, value):
    """The JSON of a default config with another value at `path`, as "optimizer.batch_size"."""
    values = json.loads(to_json(TrainConfig()))
    *groups, name = path.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    inner[name] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("epochs", "many", "epochs is 'many'; expected int"),
        ("epochs", 2.7, r"epochs is 2\.7; expected int"),
        ("epochs", True, "epochs is True; expected int"),
        ("optimizer.learning_rate", True, "learning_rate is True; expected float"),
        ("optimizer.batch_size", "16", "batch_size is '16'; expected int"),
        ("model.filters", "16", r"filters is '16'; expected .*tuple\[int, \.\.\.\]"),
        ("model.filters", [16, "8"], r"filters is \[16, '8'\]; expected .*tuple\[int, \.\.\.\]"),
        ("model.latent_dim", 1.5, r"latent_dim is 1\.5; expected int \| None"),
        ("device.data_on_device", 1, r"data_on_device is 1; expected auto \| on \| off \| bool"),
        ("workdir", 5, "workdir is 5"),
        ("color", "blue", r"lacks the fields \[\] and does not know \['color'\]"),
        ("optimizer", [], "OptimizerConfig lacks the fields"),
        ("model.name", "recurrent", "model is 'recurrent'; expected one of convolutional, fully_"),
        ("model.hidden_units", [3], r"does not know \['hidden_units'\]"),
        ("optimizer.schedule", "linear", "--schedule got linear"),
        ("schema", 7, "its schema is 7, and this version of flaxae reads 1 to 6; .* upgrade"),
        ("schema", "2", "its schema is '2'"),
        ("schema", 2.0, r"its schema is 2\.0"),
        ("objective.corrupt", ["blur"], "--corrupt got blur; expected names among affine, shift,"),
        ("objective.corrupt", "affine", r"corrupt is 'affine'; expected tuple"),
    ],
)
def test_an_edited_file_is_refused(path, value, message):
    with pytest.raises(InputError, match=message):
        from_json(edited(path, value))


def test_a_missing_field_is_refused_unless_it_changes_no_result():
    values = json.loads(to_json(TrainConfig()))
    del values["device"]["steps_per_call"]
    assert from_json(json.dumps(values)) == TrainConfig()
    del values["compute"]["dtype"]
    with pytest.raises(InputError, match=r"lacks the fields \['dtype'\]"):
        from_json(json.dumps(values))


def test_the_optimizer_of_a_config_suits_its_model():
    recipe = FullyConnectedConfig.recipe
    assert recipe, "else there is nothing to test"
    assert TrainConfig().optimizer == OptimizerConfig() != CONNECTED.optimizer
    assert CONNECTED.optimizer == OptimizerConfig(**recipe)
    assert from_flags({}) == TrainConfig()
    model = {"model": "fully_connected"}
    assert from_flags(model) == TrainConfig(model=FullyConnectedConfig())
    given = OptimizerConfig(batch_size=7)
    assert TrainConfig(model=FullyConnectedConfig(), optimizer=given).optimizer == given
    changed = from_flags({**model, "beta2": 0.5}).optimizer
    assert changed == OptimizerConfig(**{**recipe, "beta2": 0.5})
    name, value = next(iter(recipe.items()))
    assert getattr(from_flags({**model, name: 2 * value}).optimizer, name) == 2 * value
    assert replace(CONNECTED, seed=3).optimizer == CONNECTED.optimizer


def test_flags_become_a_config():
    flags = {"model": "fully_connected", "hidden_units": (8, 4), "batch_size": 3, "seed": 5}
    assert from_flags(flags) == TrainConfig(
        model=FullyConnectedConfig(hidden_units=(8, 4)),
        optimizer=OptimizerConfig(**{**FullyConnectedConfig.recipe, "batch_size": 3}),
        seed=5,
    )
    with pytest.raises(InputError, match="--filters belongs to --model convolutional"):
        from_flags({"model": "fully_connected", "filters": (3,)})
    with pytest.raises(InputError, match="--colour is no flag"):
        from_flags({"colour": 3})


def test_the_horizon_of_a_schedule_is_that_of_the_first_start():
    cosine = TrainConfig(optimizer=OptimizerConfig(schedule="cosine", warmup=0.0), epochs=5)
    first = cosine.with_horizon(None)
    assert first.optimizer.schedule_epochs == 5
    assert replace(cosine, epochs=3).with_horizon(first).optimizer.schedule_epochs == 5
    with pytest.raises(InputError, match=r"--epochs got 6, .* --schedule-epochs 6, or with a --f"):
        replace(cosine, epochs=6).with_horizon(first)
    floor = OptimizerConfig(schedule="cosine", final_learning_rate=1e-4, schedule_epochs=5)
    assert TrainConfig(optimizer=floor, epochs=6).with_horizon(first).epochs == 6
    staircase = TrainConfig(optimizer=OptimizerConfig(schedule="staircase", warmup=0.0))
    assert staircase.with_horizon(None) == staircase  # which has no horizon


@pytest.mark.parametrize(
    ("epochs", "schedule_epochs", "message"),
    [
        (2**31, None, "--epochs got 2147483648, which are 8589934592 steps; expected fewer than 2"),
        (2**29, None, "--epochs got 536870912, which are 2147483648 steps; expected fewer than 2"),
        (1, 2**29, "--schedule-epochs got 536870912, which are 2147483648 steps; expected fewer"),
    ],
)
def test_steps_that_cannot_be_counted_are_refused(epochs, schedule_epochs, message):
    """Of 50 images, four steps an epoch."""
    optimizer = OptimizerConfig(batch_size=12, schedule_epochs=schedule_epochs)
    with pytest.raises(InputError) as error:
        optimizer.refuse_too_many_steps(epochs, images=50)
    assert str(error.value).startswith(message)


def test_steps_that_can_be_counted_are_not_refused():
    OptimizerConfig(batch_size=12).refuse_too_many_steps(2**29 - 1, images=50)
    OptimizerConfig(batch_size=12, decay_steps=2**31 - 1).refuse_too_many_steps(1, images=5)


def test_a_flag_that_was_not_given_differs_in_words():
    old, new = TrainConfig(), TrainConfig(data=DataConfig(train_limit=32))
    assert differences(old, new) == ["--train-limit not given there, 32 here"]
    old, new = new, TrainConfig(data=DataConfig(train_limit=32, classes=("3",)))
    assert differences(old, new) == ["--classes not given there, 3 here"]


def test_differences_name_flags_and_both_values():
    old = TrainConfig()
    new = replace(old, model=ConvolutionalConfig(filters=(8, 8)), seed=1)
    assert differences(old, new) == [
        "--filters 16 8 8 there, 8 8 here",
        "--seed 0 there, 1 here",
    ]
    assert "--model convolutional there, fully_connected here" in differences(old, CONNECTED)


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
