import functools
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.config import TrainConfig
from flaxae.errors import InputError, RunError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig
from flaxae.runs.checkpoints import Progress, open_checkpoints
from flaxae.training import OptimizerConfig
from flaxae.training.epoch import EpochSums
from flaxae.training.loop import View
from flaxae.training.state import create_train_state, make_optimizer

CONFIG = TrainConfig()
SUMS = EpochSums({"loss": 0.1, "grad_norm": 1 / 3}, 7)


@functools.cache
def new_state(seed=0, filters=(3,), optimizer=OptimizerConfig()):  # noqa: B008 - frozen
    model = ConvolutionalConfig(filters=filters).build(ComputeConfig(), (4, 4, 1))
    return create_train_state(model, make_optimizer(optimizer, 9), jax.random.key(seed))


@pytest.fixture(scope="module")
def states():
    """The same run at steps 1 to 6, with other parameters at each."""
    fresh = new_state()

    def at(step):
        params = jax.tree.map(lambda p: p + step, fresh.params)
        return fresh.replace(step=jnp.int32(step), params=params)

    return {step: at(step) for step in range(1, 7)}


def save_all(folder, states, losses):
    with open_checkpoints(folder, CONFIG) as checkpoints:
        for epoch, (state, loss) in enumerate(zip(states, losses, strict=True), start=1):
            checkpoints.save(state, Progress(epoch), loss)


def restore(folder, which="latest", target=None):
    with open_checkpoints(folder, CONFIG) as checkpoints:
        return checkpoints.restore(target or new_state(seed=9), which)


def assert_same(a, b):
    jax.tree.map(
        np.testing.assert_array_equal,
        (a.params, a.opt_state, a.step),
        (b.params, b.opt_state, b.step),
    )


def test_a_state_is_restored_to_the_bit(tmp_path, states):
    progress = Progress(4, SUMS)
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.save(states[5], progress, None)
    restored = restore(tmp_path)
    assert_same(restored.state, states[5])
    assert restored.progress == progress


def test_a_state_with_averaged_weights_is_restored_to_the_bit(tmp_path):
    optimizer = OptimizerConfig(ema_decay=0.9, clip_norm=1.0)
    state = new_state(optimizer=optimizer)
    state = state.apply_gradients(grads=jax.tree.map(jnp.ones_like, state.params))
    save_all(tmp_path, [state], [0.5])
    assert_same(restore(tmp_path, target=new_state(seed=9, optimizer=optimizer)).state, state)


def test_the_newest_two_and_the_best_are_kept(tmp_path, states):
    save_all(tmp_path, states.values(), [5.0, 1.0, 3.0, 4.0, 6.0, 2.0])
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        assert sorted(checkpoints.steps()) == [2, 5, 6]
    assert int(restore(tmp_path).state.step) == 6
    assert int(restore(tmp_path, "best").state.step) == 2
    assert int(restore(tmp_path, 5).state.step) == 5
    with pytest.raises(InputError, match="no checkpoint of step 3"):
        restore(tmp_path, 3)


def test_one_without_a_loss_is_the_latest_but_never_the_best(tmp_path, states):
    save_all(tmp_path, [states[1], states[2]], [0.5, None])
    assert int(restore(tmp_path).state.step) == 2
    assert int(restore(tmp_path, "best").state.step) == 1


def test_the_callback_saves_each_epoch_and_the_steps_of_a_stopped_one(tmp_path, states):
    def view(step, epoch, **fields):
        return Mock(spec=View, state=states[step], epoch=epoch, **fields)

    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.on_epoch(view(1, 1, record={"validation_loss": 0.5}))
        checkpoints.on_epoch(view(2, 2, record={"validation_loss": 0.7}))
        checkpoints.on_end(view(3, 2, status="stopped", sums=SUMS))
    assert int(restore(tmp_path, "best").state.step) == 1
    latest = restore(tmp_path)
    assert_same(latest.state, states[3])
    assert latest.progress == Progress(2, SUMS)
    assert restore(tmp_path, 2).progress == Progress(2)


@pytest.mark.parametrize(
    ("status", "sums"), [("finished", EpochSums()), ("failed", SUMS), ("stopped", EpochSums())]
)
def test_the_callback_saves_nothing_else_at_the_end(tmp_path, states, status, sums):
    """The state of a failed run may be broken; that of a complete epoch was saved already."""
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.on_end(Mock(spec=View, state=states[3], epoch=2, status=status, sums=sums))
        assert checkpoints.steps() == []


def test_nothing_to_restore(tmp_path):
    assert restore(tmp_path) is None
    assert restore(tmp_path, "best") is None


def test_saving_a_step_twice_is_no_error(tmp_path, states):
    save_all(tmp_path, [states[1], states[1]], [0.5, 0.4])
    assert int(restore(tmp_path).state.step) == 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "deleted"])
def test_a_damaged_checkpoint_is_moved_away(tmp_path, states, damage, capsys):
    folder = tmp_path / "checkpoints"
    save_all(folder, [states[1], states[2]], [0.5, 0.4])
    files = [p for p in (folder / "2/state").rglob("d/*") if p.is_file()]
    path = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0x40
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 3] if damage == "truncated" else content)
    restored = restore(folder)
    assert_same(restored.state, states[1])
    assert "checkpoint 2 is damaged; moved to" in capsys.readouterr().err
    assert (tmp_path / "checkpoints-damaged/2").is_dir()
    save_all(folder, [states[2]], [0.4])  # the same step can be saved again
    assert_same(restore(folder).state, states[2])


def test_a_reader_skips_a_damaged_checkpoint_and_moves_nothing(tmp_path, states, capsys):
    folder = tmp_path / "checkpoints"
    save_all(folder, [states[1], states[2]], [0.5, 0.4])
    (folder / "2/flaxae_sha256.json").write_text("{}")
    (folder / "3.orbax-checkpoint-tmp").mkdir()  # being written by a training run
    with open_checkpoints(folder, CONFIG, writing=False) as checkpoints:
        assert_same(checkpoints.restore(new_state(seed=9)).state, states[1])
    assert "checkpoint 2 is damaged; passed over" in capsys.readouterr().err
    assert {p.name for p in folder.iterdir()} == {"1", "2", "3.orbax-checkpoint-tmp"}


def test_a_checkpoint_of_another_model_is_refused(tmp_path, states):
    save_all(tmp_path, [states[1]], [0.5])
    with pytest.raises(
        InputError, match=r"checkpoint 1 is of another model: .*kernel is .* there, "
    ):
        restore(tmp_path, target=new_state(filters=(4,)))
    assert (tmp_path / "1").is_dir()


def test_a_kill_before_the_seal_loses_nothing(tmp_path, states):
    save_all(tmp_path, [states[1], states[2]], [0.5, 0.4])
    (tmp_path / "2/flaxae_sha256.json").unlink()
    assert_same(restore(tmp_path).state, states[2])


def test_a_full_disk_is_an_error_of_one_line(tmp_path, states, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    def fail(*args, **kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing [a page of specification]")

    monkeypatch.setattr(ocp.training.Checkpointer, "save_async", fail)
    with pytest.raises(RunError, match=r"step 1 cannot be written: the disk is full$"):
        save_all(tmp_path, [states[1]], [0.5])
