import pytest

import flaxae
from flaxae.config import TrainConfig
from flaxae.config.flags import from_flags, preset
from flaxae.config.presets import PRESETS, Preset
from flaxae.config.serialization import from_json, to_json
from flaxae.errors import InputError
from flaxae.models import MODELS
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.training import OptimizerConfig


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_config(name):
    config = preset(name)
    assert from_json(to_json(config)) == config
    assert config == from_flags(PRESETS[name].flags) == from_flags({"preset": name})
    assert config != TrainConfig() or not PRESETS[name].flags
    assert PRESETS[name].purpose


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_preset_goes_with_every_model(name, model):
    config = preset(name, model=model)
    assert config.model.name == model
    shared = {**PRESETS[name].flags, "model": model}
    for group in (config.optimizer, config.objective, config.data):
        for field, value in vars(group).items():
            assert value == shared.get(field, value), field


def test_the_original_preset_is_the_recipe_of_the_original():
    """That of flaxae 0.1, whatever the defaults are now."""
    config = preset("original")
    assert config.optimizer == OptimizerConfig(
        batch_size=256,
        learning_rate=1e-3,
        schedule="staircase",
        warmup=0.0,
        final_learning_rate=0.0,
        learning_rate_decay=0.96,
        decay_steps=1000,
        weight_decay=1e-5,
        beta2=0.999,
        clip_norm=None,
        ema_decay=0.0,
    )
    model = config.model
    assert (model.name, model.filters, model.activation) == ("convolutional", (16, 8, 8), "relu")
    assert (model.latent_dim, model.dense_units) == (None, ())
    assert (config.objective.loss, config.objective.corrupt) == ("bce", ())
    assert config.epochs == 50
    dense = preset("original", model="fully_connected")
    assert dense.optimizer == config.optimizer


@pytest.fixture
def mine(monkeypatch):
    """A preset of flags of every kind: shared ones, the model's own, and the run's."""
    flags = {"filters": (4,), "latent_dim": 3, "batch_size": 7, "corrupt": ("mask",), "epochs": 5}
    monkeypatch.setitem(PRESETS, "mine", Preset("for these tests", flags))
    return flags


def test_flags_that_are_given_win(mine):
    config = preset("mine", latent_dim=9, corrupt=(), epochs=2, seed=4)
    assert config == from_flags({**mine, "latent_dim": 9, "corrupt": (), "epochs": 2, "seed": 4})
    assert (config.model.latent_dim, config.epochs, config.objective.corrupt) == (9, 2, ())
    assert (config.model.filters, config.optimizer.batch_size) == ((4,), 7)
    assert preset("mine", latent_dim=None).model.latent_dim is None


def test_another_model_leaves_out_what_a_preset_says_of_its_own(mine):
    config = preset("mine", model="fully_connected")
    assert config.model == FullyConnectedConfig(latent_dim=3)
    assert config.optimizer == OptimizerConfig(**{**FullyConnectedConfig.recipe, "batch_size": 7})
    assert config.objective.corrupt == ("mask",)
    with pytest.raises(InputError, match="--filters belongs to --model convolutional"):
        preset("mine", model="fully_connected", filters=(4,))


def test_a_preset_of_another_model_gives_way_to_the_model_that_is_given(monkeypatch):
    flags = {"model": "fully_connected", "hidden_units": (5, 4), "seed": 3}
    monkeypatch.setitem(PRESETS, "mine", Preset("for this test", flags))
    assert preset("mine").model == FullyConnectedConfig(hidden_units=(5, 4))
    assert preset("mine", model="convolutional") == TrainConfig(seed=3)


def test_a_preset_stays_as_it_is(mine):
    before = dict(mine)
    preset("mine", latent_dim=9, model="fully_connected", hidden_units=(2,))
    assert PRESETS["mine"].flags == before


@pytest.mark.parametrize("name", ["best", "", "Original"])
def test_an_unknown_preset_is_refused_with_the_list(name):
    with pytest.raises(InputError) as error:
        preset(name)
    assert str(error.value) == f"--preset got {name}; expected one of {', '.join(PRESETS)}"


def test_a_flag_that_no_preset_knows_is_refused():
    with pytest.raises(InputError, match="--colour is no flag of train"):
        preset("original", colour=3)
    with pytest.raises(InputError, match=r"--epoch is no flag of train; did you mean --epochs\?"):
        preset("original", epoch=3)


def test_presets_are_public():
    assert flaxae.preset("original", epochs=3) == preset("original", epochs=3)
