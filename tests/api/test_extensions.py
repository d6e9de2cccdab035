"""A model, a source and a callback of a user's own, and what is refused of them."""

import json
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flaxae
from flaxae.commands import main as cli
from flaxae.data.sources import SOURCES
from flaxae.models import MODELS
from flaxae.models.autoencoder import Autoencoder
from flaxae.models.options import ModelConfig
from flaxae.objectives import LOSSES
from tests.fixtures.images import synthetic_split

SHAPE = (9, 7, 1)


class PlainEncoder(nn.Module):
    """Layers of flax itself, and a bottleneck that reports a term of the loss."""

    size: int

    @nn.compact
    def __call__(self, images, train):
        z = nn.Dense(self.size)(images.reshape(len(images), -1))
        self.sow("extras", "kl_loss", 0.01 * jnp.mean(z**2, axis=1))
        self.sow("extras", "norm", jnp.linalg.norm(z, axis=1))
        return z


class PlainDecoder(nn.Module):
    @nn.compact
    def __call__(self, embedding, train):
        return nn.Dense(63)(embedding).reshape(-1, *SHAPE)


@dataclass(frozen=True, kw_only=True)
class PlainConfig(flaxae.ConvolutionalConfig):
    """Plain model."""

    name: ClassVar[str] = "plain"
    size: int = 5
    """Numbers in the embedding."""
    undocumented: int = 3

    def build(self, compute, image_shape):
        return Autoencoder(PlainEncoder(self.size), PlainDecoder(), compute, image_shape)


@pytest.fixture
def plain_model(monkeypatch):
    monkeypatch.setitem(MODELS, "plain", PlainConfig)


def test_a_bottleneck_s_measures_travel_by_name(plain_model, tiny_splits, tmp_path, capsys):
    workdir = tmp_path / "run"
    flags = ["--model", "plain", "--size", "4", "--dataset", "tiny", "--epochs", "2"]
    assert cli.main(["train", *flags, "--workdir", str(workdir)]) == 0
    assert "validation kl loss" in capsys.readouterr().out
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {"train_kl_loss", "validation_kl_loss", "train_norm"} <= set(records[0])
    (events,) = workdir.glob("events.out.tfevents.*")
    assert b"validation_kl_loss" in events.read_bytes()
    assert cli.main(["evaluate", "--workdir", str(workdir), "--split", "validation"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert any(line.startswith("kl_loss") for line in table)
    found = json.loads(last)
    assert found["kl_loss"] == pytest.approx(records[1]["validation_kl_loss"], rel=1e-5)
    assert found["norm"] > 0


def test_a_term_of_the_bottleneck_is_part_of_the_loss(plain_model, tiny_splits):
    run = flaxae.train(flaxae.TrainConfig(model=PlainConfig(), epochs=1), tiny_splits)
    pixels = jnp.asarray(tiny_splits["test"].images / np.float32(255))
    logits, sown = run.model.apply(run.variables, pixels, mutable=["extras"])
    (kl,) = sown["extras"]["encoder"]["kl_loss"]
    plain = jnp.logaddexp(0, logits) - logits * pixels
    expected = float(plain.mean() + kl.mean())
    assert run.evaluate("test")["loss"] == pytest.approx(expected, rel=1e-5)


def test_flags_that_two_models_share_name_both(plain_model, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    out = capsys.readouterr().out
    assert "--undocumented N" in out
    assert out.count("\n  --filters") == 1
    assert cli.main(["train", "--model", "fully_connected", "--filters", "3"]) == 2
    assert "--filters belongs to --model convolutional or plain" in capsys.readouterr().err


def test_a_model_that_has_no_name_in_the_table_is_refused():
    with pytest.raises(flaxae.InputError, match="model got PlainConfig; expected a class that"):
        flaxae.TrainConfig(model=PlainConfig())


@dataclass(frozen=True, kw_only=True)
class NamelessConfig(ModelConfig):
    """A model whose `name` was forgotten."""


def test_a_model_without_a_name_is_refused():
    with pytest.raises(flaxae.InputError, match="model got NamelessConfig; expected a class that"):
        flaxae.TrainConfig(model=NamelessConfig())


class Dots:
    name = "my-dots"
    absent: ClassVar[str | None] = None

    def splits(self):
        names = {name for name in ("train", "validation", "test") if name != self.absent}
        return {name: synthetic_split(30, seed=len(name)) for name in names}

    def digest(self):
        return None


def test_a_source_in_the_table_is_a_dataset(monkeypatch, tmp_path):
    monkeypatch.setitem(SOURCES, "my-dots", lambda config: Dots())
    flags = ["--dataset", "my-dots", "--epochs", "1", "--filters", "2"]
    assert cli.main(["train", *flags, "--workdir", str(tmp_path / "run")]) == 0
    assert flaxae.load(tmp_path / "run").class_names == ("bar", "box", "cross")
    monkeypatch.setattr(Dots, "absent", "validation")
    config = flaxae.TrainConfig(
        data=flaxae.DataConfig(dataset="my-dots"), workdir=str(tmp_path / "other")
    )
    with pytest.raises(flaxae.InputError, match="the source my-dots gave no split validation"):
        flaxae.train(config)


@pytest.mark.parametrize("callback", [print, {}, object()])
def test_a_callback_without_methods_is_refused(callback):
    with pytest.raises(flaxae.InputError, match="has none of the methods on_start"):
        flaxae.train(images=synthetic_split(60, 0).images, callbacks=[callback])


@pytest.mark.parametrize(
    "objective",
    [
        lambda logits, images, extras: logits.mean((1, 2, 3)),
        lambda logits, images, extras: {"loss": jnp.ones(len(logits), int)},
        lambda logits, images, extras: {"loss": logits.mean((1, 2, 3)), "mse": logits[:, 0, 0, 0]},
    ],
)
def test_what_no_objective_may_return_is_refused(monkeypatch, objective):
    monkeypatch.setitem(LOSSES, "mine", objective)
    config = flaxae.TrainConfig(objective=flaxae.ObjectiveConfig(loss="mine"))
    with pytest.raises(flaxae.InputError, match="the objective mine returned"):
        flaxae.train(config, synthetic_split(60, 0).images)


def test_training_works_without_jit(tiny_splits):
    config = flaxae.TrainConfig(model=flaxae.FullyConnectedConfig(hidden_units=(3,)), epochs=1)
    splits = {name: split._replace(images=split.images[:8]) for name, split in tiny_splits.items()}
    splits = {name: replace_labels(split) for name, split in splits.items()}
    with jax.disable_jit():
        assert len(flaxae.train(config, splits).history) == 1


def replace_labels(split):
    return split._replace(labels=None, class_names=())
