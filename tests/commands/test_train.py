import json
import os
import shutil
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import flaxae.training.epoch
import flaxae.training.loop
from flaxae.api.load import load
from flaxae.commands import evaluate, reconstruct
from flaxae.commands import train as command
from flaxae.commands.ending import ending_of
from flaxae.errors import InputError, RunError
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.runs.checkpoints import Checkpoints, open_checkpoints
from flaxae.runs.metrics_file import read_lines
from flaxae.training import DeviceConfig

# The losses of three epochs on the tiny dataset. They may change when the arithmetic changes on
# purpose: another initialization, order of examples, optimizer or loss. Then look whether the new
# ones fall as before, put them here, and say in the commit why they changed. When they change
# without such a purpose, training changed without anybody wanting it.
GOLDEN = {
    "train_loss": [0.686948, 0.679556, 0.671078],
    "validation_loss": [0.683565, 0.675565, 0.666012],
}
EXPLANATION = "the training curve moved: read the comment above GOLDEN before changing it"


def train(config):
    try:
        return command.run(command.Options(config=config, report=False))
    except KeyboardInterrupt as stop:
        return ending_of(stop).status


def records_of(config):
    return read_lines(config.workdir_path())[0]


def timeless(records):
    """Everything that is a function of the config, and not of the clock."""
    return [
        {k: v for k, v in record.items() if k not in ("seconds", "images_per_second")}
        for record in records
    ]


@pytest.fixture
def config(tiny_config):
    return replace(tiny_config, epochs=3)


def test_golden_curve(config):
    train(config)
    for name, expected in GOLDEN.items():
        found = [record[name] for record in records_of(config)]
        assert found == pytest.approx(expected, abs=1e-4), EXPLANATION


def test_a_run_leaves_what_it_promises(config, capsys):
    assert train(config) == 0
    workdir = config.workdir_path()
    names = {path.name for path in (workdir / "reconstructions").iterdir()}
    assert names == {"epoch_0001.png", "epoch_0002.png", "epoch_0003.png", "animation.webp"}
    with Image.open(workdir / "reconstructions/animation.webp") as animation:
        assert animation.n_frames == 3
    assert json.loads((workdir / "config.json").read_text())["epochs"] == 3
    assert len(list(workdir.glob("events.out.tfevents.*"))) == 1
    records = records_of(config)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [4, 8, 12]
    assert set(records[0]) == {
        "epoch",
        "step",
        "train_loss",
        "validation_loss",
        "validation_rmse",
        "learning_rate",
        "grad_norm",
        "images_per_second",
        "seconds",
    }
    out = capsys.readouterr().out
    assert "disk      about " in out
    assert "dataset   tiny: train 50, validation 11, test 13; images 9x7x1, batches of 12" in out
    assert "encoder/blocks_0/layers_0/kernel" in out
    assert "epoch 3/3  train loss" in out


def test_epochs_may_grow_and_the_result_is_the_same_to_the_bit(config, tmp_path):
    train(config)
    halves = replace(config, workdir=str(tmp_path / "halves"), epochs=1)
    train(halves)
    train(replace(halves, epochs=3))
    assert timeless(records_of(halves)) == timeless(records_of(config))
    assert_same_weights(halves, config)


def assert_same_weights(a, b):
    states = [load(c.workdir_path(), "latest").programs.state for c in (a, b)]
    for x, y in zip(*(map(np.asarray, leaves(state)) for state in states), strict=True):
        np.testing.assert_array_equal(x, y)


def leaves(state):
    return jax.tree.leaves((state.params, state.opt_state, state.step))


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def number(request):
    """A signal that is heeded, however the tests were started: nohup has SIGINT ignored."""
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_saves_and_the_next_start_goes_on(config, tmp_path, monkeypatch, number, capsys):
    config = replace(config, device=DeviceConfig(steps_per_call=1))
    train(config)
    stopped = replace(config, workdir=str(tmp_path / "stopped"))
    original, calls = flaxae.training.epoch.add_steps, []

    def kill_in_the_second_epoch(*args):
        calls.append(args)
        if len(calls) == 6:
            os.kill(os.getpid(), number)
        return original(*args)

    monkeypatch.setattr(flaxae.training.epoch, "add_steps", kill_in_the_second_epoch)
    assert train(stopped) == 128 + number
    assert [record["epoch"] for record in records_of(stopped)] == [1]
    assert "stopped after step 7, which is saved" in capsys.readouterr().out
    monkeypatch.setattr(flaxae.training.epoch, "add_steps", original)
    assert train(stopped) == 0
    assert "continuing in epoch 2 after step 7" in capsys.readouterr().out
    assert timeless(records_of(stopped)) == timeless(records_of(config))
    assert_same_weights(stopped, config)
    assert signal.getsignal(number) == signal.default_int_handler


def test_a_signal_in_a_validation_saves_its_steps(config, tmp_path, monkeypatch, number, capsys):
    train(config)
    stopped = replace(config, workdir=str(tmp_path / "stopped"))
    original = flaxae.training.loop.evaluate

    def kill(*args):
        os.kill(os.getpid(), number)
        return original(*args)

    monkeypatch.setattr(flaxae.training.loop, "evaluate", kill)
    assert train(stopped) == 128 + number
    assert "stopped after step 4, which is saved" in capsys.readouterr().out
    assert not records_of(stopped)
    monkeypatch.setattr(flaxae.training.loop, "evaluate", original)
    assert train(stopped) == 0
    assert timeless(records_of(stopped)) == timeless(records_of(config))
    assert_same_weights(stopped, config)
    best = min(records_of(config), key=lambda record: record["validation_loss"])
    assert load(stopped.workdir_path()).epoch == best["epoch"]


def test_a_finished_run_is_left_as_it_is(config, capsys):
    train(config)
    before = timeless(records_of(config))
    assert train(replace(config, epochs=2)) == 0
    assert timeless(records_of(config)) == before
    assert "trained for 3 epochs already" in capsys.readouterr().out


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(config, monkeypatch):
    train(replace(config, epochs=1))
    monkeypatch.setattr(
        flaxae.training.epoch, "train_step", poisoned(flaxae.training.epoch.train_step, at=6)
    )
    with pytest.raises(RunError, match=r"loss in step 3 of epoch 2 became nan; .*--learning-rate"):
        train(config)
    with open_checkpoints(config.workdir_path() / "checkpoints", config) as checkpoints:
        assert checkpoints.steps() == [4]


def poisoned(step_function, at):

    def step(state, batch, rng, **options):
        new_state, metrics = step_function(state, batch, rng, **options)
        loss = jnp.where(state.step == at, jnp.nan, metrics.values["loss"])
        return new_state, metrics._replace(values={**metrics.values, "loss": loss})

    return step


def test_more_images_in_a_batch_than_there_are(config):
    config = replace(config, optimizer=replace(config.optimizer, batch_size=1000), epochs=1)
    train(config)
    assert records_of(config)[0]["step"] == 1


def test_evaluate_prints_a_table_and_one_object(config, capsys):
    train(config)
    capsys.readouterr()
    options = evaluate.Options(
        workdir=str(config.workdir_path()), split="validation", checkpoint="latest"
    )
    assert evaluate.run(options) == 0
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    record = records_of(config)[-1]
    assert found["loss"] == pytest.approx(record["validation_loss"], rel=1e-6)
    assert found["rmse"] == pytest.approx(record["validation_rmse"], rel=1e-6)
    assert found["psnr"] == pytest.approx(-20 * np.log10(found["rmse"]))
    assert (found["split"], found["examples"], found["epoch"]) == ("validation", 11, 3)
    assert any("PSNR" in line for line in table)


def draw(config, **options):
    reconstruct.run(reconstruct.Options(workdir=str(config.workdir_path()), **options))


def test_reconstruct_draws_rows(config, tmp_path):
    noisy = replace(config, objective=ObjectiveConfig(noise_factor=0.3), epochs=1)
    train(noisy)
    path = tmp_path / "new/folder/picture.png"
    draw(noisy, split="all", examples=5, output=str(path))
    clean = replace(config, workdir=str(tmp_path / "clean"), epochs=1)
    train(clean)
    draw(clean, examples=5)
    with Image.open(path) as three, Image.open(f"{clean.workdir}/reconstructions/test.png") as two:
        assert two.size[0] == three.size[0]
        # One row more, below a title of 22 pixels.
        assert (two.size[1] - 22) * 3 == (three.size[1] - 22) * 2


def test_a_run_without_a_checkpoint_is_named(config):
    train(config)
    shutil.rmtree(config.workdir_path() / "checkpoints")
    with pytest.raises(InputError, match="has lost its checkpoints; put one back"):
        load(config.workdir_path())


def test_another_seed_is_another_run(config, tmp_path):
    train(replace(config, epochs=1))
    other = replace(config, epochs=1, seed=1, workdir=str(tmp_path / "other"))
    train(other)
    assert records_of(other)[0]["train_loss"] != records_of(config)[0]["train_loss"]


def test_the_recorded_learning_rate_follows_the_schedule(config):
    optimizer = replace(config.optimizer, decay_steps=4, learning_rate_decay=0.5)
    train(replace(config, optimizer=optimizer))
    rates = [record["learning_rate"] for record in records_of(config)]
    assert rates == pytest.approx([5e-4, 2.5e-4, 1.25e-4])


def test_an_epoch_that_no_checkpoint_holds_is_recorded_once(config, monkeypatch):
    original = Checkpoints.save

    def fail_after_the_first_epoch(self, state, progress, validation_loss, history):
        if progress.epoch > 1:
            raise RunError("the disk is full")
        original(self, state, progress, validation_loss, history)

    monkeypatch.setattr(Checkpoints, "save", fail_after_the_first_epoch)
    with pytest.raises(RunError, match="the disk is full; step 4 is safe"):
        train(config)
    assert [record["epoch"] for record in records_of(config)] == [1]
    monkeypatch.setattr(Checkpoints, "save", original)
    train(config)
    assert [record["epoch"] for record in records_of(config)] == [1, 2, 3]


def test_a_run_that_diverges_in_its_last_update_is_not_kept(config):
    wild = replace(config, optimizer=replace(config.optimizer, batch_size=50, learning_rate=1e38))
    with pytest.raises(RunError, match=r"became (nan|inf)"):
        train(wild)
    assert records_of(config) == []
    train(config)  # a run that never came to a checkpoint gives its folder away
    assert len(records_of(config)) == 3


def test_weights_that_are_no_numbers_are_not_kept_whatever_the_loss(config, monkeypatch):
    """On a CPU the maximum of a pooling passes over NaN, so that the loss can be a number."""
    quality = {"loss": 0.5, "rmse": 0.1}
    monkeypatch.setattr(flaxae.training.loop, "evaluate", lambda *_: quality)
    wild = replace(config, optimizer=replace(config.optimizer, batch_size=50, learning_rate=1e38))
    with pytest.raises(RunError, match=r"coder/\S+ after epoch 1 became (nan|inf)"):
        train(wild)
    assert records_of(config) == []


def test_a_folder_moved_away_ends_the_run(config, monkeypatch):
    def move(config):
        shutil.move(config.workdir_path(), config.workdir_path().with_name("moved"))

    original = flaxae.training.loop._record
    monkeypatch.setattr(
        flaxae.training.loop, "_record", lambda *args: (move(config), original(*args))[1]
    )
    with pytest.raises(RunError, match="was moved or deleted"):
        train(config)
    assert not (config.workdir_path() / "reconstructions").exists()


def test_a_batch_of_any_size_can_be_evaluated(config, capsys):
    train(replace(config, optimizer=replace(config.optimizer, batch_size=10**9), epochs=1))
    assert evaluate.run(evaluate.Options(workdir=str(config.workdir_path()))) == 0


@pytest.mark.parametrize(
    ("connected", "data_on_device", "steps_per_call"),
    [
        (False, False, 3),
        (False, False, 50),
        (False, True, 1),
        (False, True, 3),
        (True, False, 3),
        (True, True, 50),
    ],
)
def test_many_steps_in_a_call_give_the_same_losses_to_the_bit(
    config, tmp_path, connected, data_on_device, steps_per_call
):
    noisy, device = ObjectiveConfig(noise_factor=0.2), DeviceConfig(steps_per_call=1)
    one_by_one = replace(config, objective=noisy, device=device, epochs=2)
    if connected:
        model = FullyConnectedConfig(hidden_units=(8, 4))
        one_by_one = replace(one_by_one, model=model)
    train(one_by_one)
    device = DeviceConfig(data_on_device=data_on_device, steps_per_call=steps_per_call)
    other = replace(one_by_one, device=device, workdir=str(tmp_path / "other"))
    train(other)
    assert timeless(records_of(other)) == timeless(records_of(one_by_one))
    assert_same_weights(other, one_by_one)


def test_fully_connected_trains_too(config):
    config = replace(config, model=FullyConnectedConfig(hidden_units=(8, 4)), epochs=2)
    train(config)
    first, second = records_of(config)
    assert second["train_loss"] < first["train_loss"]
