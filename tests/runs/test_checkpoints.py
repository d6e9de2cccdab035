import contextlib
import errno
import functools
import re
import shutil
import threading
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.config import TrainConfig
from flaxae.errors import InputError, RunError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.options import ComputeConfig
from flaxae.runs import checkpoint_files
from flaxae.runs.checkpoint_folder import CheckpointFolder, NoneWhole, Progress
from flaxae.runs.checkpoints import open_checkpoints
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
        return Mock(spec=View, state=states[step], epoch=epoch, history=(), **fields)

    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.on_epoch(view(1, 1, record={"validation_loss": 0.5}))
        checkpoints.on_epoch(view(2, 2, record={"validation_loss": 0.7}))
        checkpoints.on_end(view(3, 2, status="stopped", sums=SUMS))
    assert int(restore(tmp_path, "best").state.step) == 1
    latest = restore(tmp_path)
    assert_same(latest.state, states[3])
    assert latest.progress == Progress(2, SUMS)
    assert restore(tmp_path, 2).progress == Progress(2)


def test_a_step_is_saved_again_after_its_validation(tmp_path, states):
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.save(states[3], Progress(2, SUMS), None)
        checkpoints.save(states[3], Progress(3), 0.5, [{"epoch": 3}])
    found = restore(tmp_path, "best")
    assert (found.progress, found.history) == (Progress(3), [{"epoch": 3}])
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


@pytest.mark.parametrize("after", ["first", "second"])
def test_a_kill_while_a_step_is_saved_again_loses_nothing(tmp_path, states, after):
    """After the first of the two changes of names, or after the second."""
    save_all(tmp_path, [states[1]], [0.5])
    replaced = tmp_path / ".replaced-1"
    shutil.copytree(tmp_path / "1", replaced)
    if after == "first":
        shutil.rmtree(tmp_path / "1")
    assert int(restore(tmp_path).state.step) == 1
    assert not replaced.exists()


@pytest.mark.parametrize(
    ("status", "sums"), [("finished", EpochSums()), ("failed", SUMS), ("stopped", EpochSums())]
)
def test_the_callback_saves_nothing_else_at_the_end(tmp_path, states, status, sums):
    """The state of a failed run may be broken; that of a complete epoch was saved already."""
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.on_end(
            Mock(spec=View, state=states[3], epoch=2, status=status, sums=sums, history=())
        )
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
    assert re.search(r"checkpoint 2 is damaged \(.*\); moved to", capsys.readouterr().err)
    assert (tmp_path / "checkpoints-damaged/2").is_dir()
    save_all(folder, [states[2]], [0.4])  # the same step can be saved again
    assert_same(restore(folder).state, states[2])


def test_a_reader_skips_a_damaged_checkpoint_and_moves_nothing(tmp_path, states, capsys):
    folder = tmp_path / "checkpoints"
    save_all(folder, [states[1], states[2]], [0.5, 0.4])
    (folder / "2/flaxae_sha256.json").write_text("{}")
    (folder / ".saving-3").mkdir()  # being written by a training run
    checkpoints = CheckpointFolder(folder, CONFIG)
    assert_same(checkpoints.restore(new_state(seed=9)).state, states[1])
    told = capsys.readouterr().err
    assert re.search(r"checkpoint 2 is damaged \(.* names no file\); passed over", told)
    assert {p.name for p in folder.iterdir()} == {"1", "2", ".saving-3"}


def test_what_a_kill_leaves_of_a_save_is_removed_by_the_next_start(tmp_path, states):
    for name in (".saving-2", "2.orbax-checkpoint-tmp"):
        (tmp_path / name).mkdir()
    save_all(tmp_path, [states[1]], [0.5])
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path, states):
    save_all(tmp_path, [states[1]], [0.5])
    with pytest.raises(
        InputError, match=r"checkpoint 1 is of another model: .*kernel is .* there, "
    ):
        restore(tmp_path, target=new_state(filters=(4,)))
    assert (tmp_path / "1").is_dir()


def test_without_its_seal_a_checkpoint_is_none(tmp_path, states, capsys):
    folder = tmp_path / "checkpoints"
    save_all(folder, [states[1], states[2]], [0.5, 0.4])
    (folder / "2/flaxae_sha256.json").unlink()
    assert_same(restore(folder).state, states[1])
    assert "checkpoint 2 is damaged (it has no seal); moved to" in capsys.readouterr().err


def test_a_checkpoint_has_its_name_only_with_its_seal(tmp_path, states, monkeypatch):
    """A kill at any moment leaves a whole one, or none."""

    def killed(*args):
        raise SystemExit

    monkeypatch.setattr("flaxae.runs.checkpoint_files.write_atomically", killed)
    with pytest.raises(RunError, match="step 1 cannot be written"):
        save_all(tmp_path, [states[1]], [0.5])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_in_the_middle_of_a_save_is_told_plainly(tmp_path, states, monkeypatch):
    folder = tmp_path / "checkpoints"

    def go(*args):
        shutil.rmtree(folder)
        raise ValueError("INVALID_ARGUMENT: Error opening kvstore ...")

    monkeypatch.setattr(checkpoint_files, "write", go)
    with pytest.raises(RunError, match="was moved or deleted while its run was training; no step"):
        save_all(folder, [states[1]], [0.5])


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"custom_metadata": 3}', "\udcff"])
def test_metadata_that_cannot_be_read_is_damage(tmp_path, states, text, capsys):
    folder = tmp_path / "checkpoints"
    save_all(folder, [states[1], states[2]], [0.5, 0.4])
    (folder / "2/_CHECKPOINT_METADATA").write_bytes(text.encode(errors="surrogateescape"))
    assert_same(restore(folder, "best").state, states[1])
    assert "checkpoint 2 is damaged (_CHECKPOINT_METADATA has changed)" in capsys.readouterr().err


def test_of_damaged_checkpoints_none_is_moved_if_none_is_whole(tmp_path, states):
    save_all(tmp_path, [states[1], states[2]], [0.5, 0.4])
    for step in "12":
        (tmp_path / step / "flaxae_sha256.json").write_text("{}")
    with pytest.raises(NoneWhole, match=r"is whole: 2 \(.* names no file\), 1 \("):
        restore(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"1", "2"}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("RESOURCE_EXHAUSTED: [a page]"), "the disk or the quota is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk or the quota is full"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "Read-only file system: x"),
        (ValueError("first line\nsecond"), "first line"),
    ],
)
def test_a_save_that_fails_is_an_error_of_one_line(tmp_path, states, monkeypatch, error, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(checkpoint_files.ocp, "save", fail)
    with pytest.raises(RunError) as raised:
        save_all(tmp_path, [states[1]], [0.5])
    expected = f"the checkpoint of step 1 cannot be written to {tmp_path}: {message}"
    assert str(raised.value) == f"{expected}; no step is safe in {tmp_path}"


def test_a_full_disk_is_waited_out(tmp_path, states, monkeypatch, capsys):
    original, full = checkpoint_files.ocp.save, [True]

    def save(*args, **kwargs):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(*args, **kwargs)

    monkeypatch.setattr(checkpoint_files.ocp, "save", save)
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.save(states[1], Progress(1), 0.5)
        checkpoints.save(states[2], Progress(2), 0.4)
        full.clear()
    assert checkpoints.steps() == [2]  # tried once more at the end
    assert "the checkpoint of step 1 cannot be written" in capsys.readouterr().err


def test_a_run_that_has_failed_waits_some_seconds_only(tmp_path, states, monkeypatch):
    """Whatever a thread of Orbax does."""
    release = threading.Event()
    monkeypatch.setattr(checkpoint_files.ocp, "save", lambda *args, **kwargs: release.wait(60))
    monkeypatch.setattr("flaxae.runs.saver._GRACE", 0.1)
    checkpoints = stopped_by(RunError("the loss became nan"), tmp_path, states)
    assert not release.is_set()
    assert checkpoints.steps() == []
    release.set()


def stopped_by(error, folder, states):
    """Checkpoints whose block `error` has left while the first one was being written."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(RunError, match=str(error)))
        checkpoints = stack.enter_context(open_checkpoints(folder, CONFIG))
        checkpoints.save(states[1], Progress(1), 0.5)
        raise error
    return checkpoints


def test_a_read_only_folder_ends_the_run(tmp_path, states, monkeypatch):
    with open_checkpoints(tmp_path, CONFIG) as checkpoints:
        checkpoints.save(states[1], Progress(1), 0.5)
        monkeypatch.setattr("os.access", lambda path, mode: False)
        with pytest.raises(RunError, match="cannot be written any more: forbidden or read-only"):
            checkpoints.on_call(Mock(spec=View))
