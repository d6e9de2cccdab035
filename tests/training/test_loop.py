import dataclasses
import gc
import weakref
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.api.train import train
from flaxae.config import TrainConfig
from flaxae.errors import RunError
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.training import DeviceConfig, OptimizerConfig, memory
from flaxae.training.devices import place
from flaxae.training.epoch import EpochSums, Trainer
from flaxae.training.loop import Callback, Task, View, fit
from flaxae.training.schedules import make_schedule
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.validation import make_eval_step
from tests.fixtures.images import synthetic_split

# Two epochs of four steps, two in each call.
CONFIG = TrainConfig(
    model=FullyConnectedConfig(hidden_units=(4,)),
    optimizer=OptimizerConfig(
        batch_size=12, learning_rate=1e-3, schedule="staircase", warmup=0.0, ema_decay=0.9
    ),
    device=DeviceConfig(steps_per_call=2),
    epochs=2,
)
CALLS_AND_EPOCHS = [
    ("on_call", 0, 2),
    ("on_call", 0, 4),
    ("on_epoch", 1, 4),
    ("on_call", 1, 6),
    ("on_call", 1, 8),
    ("on_epoch", 2, 8),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    counts = {"train": 50, "validation": 11, "test": 13}
    splits = {name: synthetic_split(count, seed=count) for name, count in counts.items()}
    shape = splits["train"].image_shape
    placement = place(CONFIG.model, CONFIG.compute, CONFIG.device, shape)
    rngs = make_rngs(0)
    trainer = Trainer(
        splits["train"],
        CONFIG.objective,
        placement,
        rngs.train,
        seed=0,
        batch_size=12,
        data_on_device=False,
    )
    return Task(
        CONFIG,
        tmp_path_factory.mktemp("run"),
        splits,
        CONFIG.model.build(CONFIG.compute, shape),
        rngs,
        trainer,
        make_eval_step(CONFIG.objective, placement, ("mse",)),
        make_schedule(CONFIG.optimizer, 8),
        CONFIG.epochs,
    )


def new_state(task):
    """A new one for each run, because training donates its buffers."""
    return create_train_state(task.model, make_optimizer(CONFIG.optimizer, 8), task.rngs.init)


def run(task, *callbacks):
    return fit(task, new_state(task), 0, EpochSums(), [], callbacks)


class Recorder(Callback):
    """Notes every event; `answers` are what it returns, or raises, at an event and step."""

    def __init__(self, log=None, name="", **answers):
        self.log = [] if log is None else log
        self.views = []
        self._name, self._answers = name, answers

    def _note(self, event, view):
        self.log.append((self._name + event, view.epoch, view.step))
        self.views.append((event, view))
        answer = self._answers.get(f"{event}_{view.step}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def on_start(self, view):
        return self._note("on_start", view)

    def on_call(self, view):
        return self._note("on_call", view)

    def on_epoch(self, view):
        return self._note("on_epoch", view)

    def on_end(self, view):
        return self._note("on_end", view)

    def statuses(self, event):
        return [view.status for name, view in self.views if name == event]


def test_events_come_in_order(task):
    recorder = Recorder()
    final = run(task, recorder)
    assert recorder.log == [("on_start", 0, 0), *CALLS_AND_EPOCHS, ("on_end", 2, 8)]
    assert {view.status for name, view in recorder.views if name != "on_end"} == {"running"}
    assert recorder.statuses("on_end") == [final.status] == ["finished"]


def test_callbacks_are_called_in_order_and_ended_in_reverse_order(task):
    log = []
    run(task, Recorder(log, "a."), Recorder(log, "b."))
    names = [name for name, _, _ in log]
    assert names[:2] == ["a.on_start", "b.on_start"]
    assert names[2:4] == ["a.on_call", "b.on_call"]
    assert names[6:8] == ["a.on_epoch", "b.on_epoch"]
    assert names[-2:] == ["b.on_end", "a.on_end"]


def test_a_view_is_frozen(task):
    views = []

    def on_epoch(view):
        views.append(view)
        with pytest.raises(dataclasses.FrozenInstanceError):
            view.epoch = 99
        with pytest.raises(dataclasses.FrozenInstanceError):
            view.task.epochs = 1

    run(task, SimpleNamespace(on_epoch=on_epoch))
    # Later epochs leave the views of earlier ones as they were.
    assert [(view.epoch, view.step, len(view.history)) for view in views] == [(1, 4, 1), (2, 8, 2)]
    assert all(isinstance(view.history, tuple) for view in views)


def test_the_view_of_a_call(task):
    """The sums are those up to the call before, because the host never waits for the device."""
    recorder = Recorder()
    run(task, recorder)
    calls = [view for name, view in recorder.views if name == "on_call"]
    assert [view.call_steps for view in calls] == [2, 2, 2, 2]
    assert [view.sums.steps for view in calls] == [0, 2, 0, 2]
    assert calls[0].images_per_second == 0 < calls[1].images_per_second
    assert all(view.config is CONFIG for view in calls)


def test_the_view_of_an_epoch(task):
    seen = []

    def on_epoch(view):
        averages = view.evaluated.params["encoder"]["layers_0"]["kernel"]
        named = view.parameters["encoder/layers_0/kernel"]
        np.testing.assert_array_equal(named, averages)
        assert not np.array_equal(named, view.state.params["encoder"]["layers_0"]["kernel"])
        assert view.activations["encoder/layers_0/activation"].shape == (11, 4)
        seen.append(view)

    run(task, SimpleNamespace(on_epoch=on_epoch))
    assert [view.record["epoch"] for view in seen] == [1, 2]
    record = seen[1].record
    assert record is seen[1].history[-1]
    assert set(record) == {
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
    assert (record["step"], record["learning_rate"]) == (8, pytest.approx(1e-3))


def test_of_large_images_fewer_are_watched(task, monkeypatch):
    """As if the activations of five images were all that memory has room for."""
    monkeypatch.setattr(memory, "_MOST_WATCHED_BYTES", 5 * 4 * (4 + 9 * 7))
    shapes = []

    def on_epoch(view):
        shapes.append({name: array.shape for name, array in view.activations.items()})

    run(task, SimpleNamespace(on_epoch=on_epoch))
    expected = {"encoder/layers_0/activation": (5, 4), "decoder/pixels/activation": (5, 63)}
    assert shapes == [expected, expected]


def test_the_arrays_of_an_epoch_are_gone_when_the_next_begins(task, monkeypatch):
    """They are as large as a batch's, and would lie beside it."""
    arrays, alive = [], []
    run_epoch = task.trainer.run_epoch

    def counted(*args):
        gc.collect()
        alive.append(sum(array() is not None for array in arrays))
        return run_epoch(*args)

    def on_epoch(view):
        arrays.extend(map(weakref.ref, view.activations.values()))

    monkeypatch.setattr(task.trainer, "run_epoch", counted)
    final = run(task, SimpleNamespace(on_epoch=on_epoch))
    assert alive == [0, 0]
    assert len(arrays) == 2 * 2  # two layers, two epochs
    assert (final.parameters, final.activations) == ({}, {})


def test_on_call_stops_training(task):
    first, second = Recorder(on_call_2=True), Recorder()
    final = run(task, first, second)
    expected = [("on_start", 0, 0), ("on_call", 0, 2), ("on_end", 0, 2)]
    assert first.log == second.log == expected
    assert (final.status, final.epoch, final.step, final.sums.steps) == ("stopped", 0, 2, 2)
    assert first.statuses("on_end") == ["stopped"]
    assert final.history == ()


@pytest.mark.parametrize("event", ["on_call_4", "on_epoch_4"])
def test_an_epoch_whose_last_call_was_done_is_completed(task, event):
    first, second = Recorder(**{event: True}), Recorder()
    final = run(task, first, second)
    expected = [("on_start", 0, 0), *CALLS_AND_EPOCHS[:3], ("on_end", 1, 4)]
    assert first.log == second.log == expected
    assert (final.status, final.epoch, final.sums.steps) == ("stopped", 1, 0)
    assert [record["epoch"] for record in final.history] == [1]


@pytest.mark.parametrize("event", ["on_call_8", "on_epoch_8"])
def test_a_stop_in_the_last_step_finishes(task, event):
    assert run(task, Recorder(**{event: True})).status == "finished"


@pytest.mark.parametrize("answer", [None, False])
def test_other_answers_do_not_stop_training(task, answer):
    recorder = Recorder(on_call_2=answer, on_epoch_4=answer)
    assert run(task, recorder).status == "finished"


def test_a_stopped_run_continues_to_the_same_result(task):
    whole = run(task)
    start = run(task, Recorder(on_call_6=True))
    assert (start.epoch, start.step) == (1, 6)
    recorder = Recorder()
    rest = fit(task, start.state, start.epoch, start.sums, start.history, [recorder])
    assert recorder.log == [("on_start", 1, 6), *CALLS_AND_EPOCHS[4:], ("on_end", 2, 8)]
    a, b = ((view.state.params, view.state.opt_state) for view in (whole, rest))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    timed = ("seconds", "images_per_second")
    for one, other in zip(whole.history, rest.history, strict=True):
        assert {**one, **dict.fromkeys(timed)} == {**other, **dict.fromkeys(timed)}


def test_a_validation_that_is_stopped_is_made_when_the_run_continues(task):
    whole = run(task)
    recorder = Recorder()
    stopping = SimpleNamespace(on_validation=lambda view: view.step == 8)
    start = run(task, stopping, recorder)
    assert (start.status, start.epoch, start.step, start.sums.steps) == ("stopped", 1, 8, 4)
    assert recorder.log[-2:] == [("on_call", 1, 8), ("on_end", 1, 8)]
    rest = fit(task, start.state, start.epoch, start.sums, start.history, [])
    assert rest.status == "finished"
    timed = dict.fromkeys(("seconds", "images_per_second"))
    assert {**whole.record, **timed} == {**rest.record, **timed}


def test_a_run_that_is_complete_only_starts_and_ends(task):
    recorder = Recorder()
    state = new_state(task).replace(step=jnp.int32(8))
    final = fit(task, state, 2, EpochSums(), [{"epoch": 1}, {"epoch": 2}], [recorder])
    assert recorder.log == [("on_start", 2, 8), ("on_end", 2, 8)]
    assert final.status == "finished"
    assert [record["epoch"] for record in final.history] == [1, 2]


@pytest.mark.parametrize("event", ["on_call_2", "on_epoch_4"])
def test_all_callbacks_are_ended_in_reverse_order_if_one_raises(task, event):
    log = []
    first = Recorder(log, "a.")
    second = Recorder(log, "b.", **{event: ValueError("the callback failed")})
    third = Recorder(log, "c.")
    with pytest.raises(ValueError, match="the callback failed"):
        run(task, first, second, third)
    assert [name for name, _, _ in log[-4:]] == [
        f"b.{event[:-2]}",
        "c.on_end",
        "b.on_end",
        "a.on_end",
    ]
    for recorder in (first, second, third):
        assert recorder.statuses("on_end") == ["failed"]


def test_only_callbacks_that_were_started_are_ended(task):
    log = []
    failing = Recorder(log, "b.", on_start_0=ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        run(task, Recorder(log, "a."), failing, Recorder(log, "c."))
    assert [name for name, _, _ in log] == ["a.on_start", "b.on_start", "b.on_end", "a.on_end"]


def test_all_callbacks_are_ended_if_one_raises_at_the_end(task):
    """The others hear that it failed, so that none says that all is saved."""
    first, second = Recorder(), Recorder(on_end_8=ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        run(task, first, second)
    assert first.statuses("on_end") == ["failed"]


def test_a_loss_that_is_not_finite_fails_the_run(task):
    recorder = Recorder()
    state = new_state(task)
    state = state.replace(params=jax.tree.map(lambda p: p * jnp.nan, state.params))
    with pytest.raises(RunError, match="the loss in step 1 of epoch 1 became nan"):
        fit(task, state, 0, EpochSums(), [], [recorder])
    assert recorder.statuses("on_end") == ["failed"]


@pytest.mark.parametrize("event", ["on_start", "on_call", "on_validation", "on_epoch", "on_end"])
def test_a_callback_with_only_one_method_works(task, event):
    """Any object will do: it need not be of the class `Callback`."""
    views = []
    final = run(task, SimpleNamespace(**{event: views.append}))
    assert final.status == "finished"
    counts = {"on_start": 1, "on_call": 4, "on_validation": 2, "on_epoch": 2, "on_end": 1}
    assert len(views) == counts[event]
    assert all(isinstance(view, View) for view in views)


def test_the_class_itself_changes_nothing(task):
    assert run(task, Callback()).status == "finished"


def test_train_calls_its_callbacks_after_its_own(tmp_path):
    """At `on_epoch`, the epoch's picture is there; at `on_end`, the animation is not yet.

    A line of metrics.jsonl comes after the epoch's checkpoint, which a thread writes.
    """
    images = {
        name: synthetic_split(24, seed) for seed, name in enumerate(("train", "validation", "test"))
    }
    seen = []

    class Look:
        def on_epoch(self, view):
            folder = view.task.workdir
            lines = (folder / "metrics.jsonl").read_text().splitlines()
            pictures = len(list((folder / "reconstructions").glob("epoch_*.png")))
            assert len(lines) <= view.epoch
            seen.append((view.epoch, pictures))

        def on_end(self, view):
            animation = view.task.workdir / "reconstructions/animation.webp"
            seen.append((view.status, animation.exists()))

    config = dataclasses.replace(CONFIG, workdir=str(tmp_path / "run"))
    run = train(config, images, callbacks=[Look()])
    assert seen == [(1, 1), (2, 2), ("finished", False)]
    assert (run.workdir / "reconstructions/animation.webp").exists()
    assert [record["epoch"] for record in run.history] == [1, 2]
