import errno
import os
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flaxae.errors import RunError
from flaxae.runs.events import Events
from flaxae.runs.pictures import Pictures
from flaxae.training.loop import View

PICTURE = Image.new("RGB", (6, 4), (9, 8, 7))
WEIGHTS = {"encoder/kernel": np.linspace(-1, 1, 50, dtype=np.float32)}
SILENT = {"encoder/activation": np.array([0, 0, 0, 1], np.float32)}


def read(folder):
    log = EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0, "scalars": 0})
    return log.Reload()


def record_steps(folder, steps, first_step=0, picture=PICTURE):
    """What a start of a run writes that continues after `first_step` updates."""
    pictures = Mock(spec=Pictures, latest=picture)
    events = Events(folder, pictures)
    events.on_start(Mock(spec=View, step=first_step))
    for step in steps:
        record = {"train_loss": step / 10}
        fields = {"step": step, "epoch": step, "record": record}
        events.on_epoch(Mock(spec=View, parameters=WEIGHTS, activations=SILENT, **fields))


def assert_complete(log):
    assert [(e.step, round(e.value, 6)) for e in log.Scalars("train_loss")] == [(4, 0.4), (8, 0.8)]
    zeros = log.Scalars("fraction_of_zeros/encoder/activation")
    assert [e.value for e in zeros] == [0.75, 0.75]
    (first, _) = log.Images("reconstructions")
    assert (first.width, first.height) == (6, 4)
    histogram = log.Histograms("parameters/encoder/kernel")[0].histogram_value
    assert histogram.num == 50
    assert (histogram.min, histogram.max) == (-1, 1)
    assert sum(histogram.bucket) == 50
    assert log.Histograms("encoder/activation")[0].histogram_value.sum == 1


def test_the_callback_writes_an_epoch_with_its_picture(tmp_path):
    record_steps(tmp_path, [4, 8])
    assert_complete(read(tmp_path))


def test_an_epoch_without_a_picture(tmp_path):
    record_steps(tmp_path, [4], picture=None)
    log = read(tmp_path)
    assert [e.step for e in log.Scalars("train_loss")] == [4]
    assert log.Tags()["images"] == []


def test_a_restart_hides_what_no_checkpoint_holds(tmp_path):
    record_steps(tmp_path, [4, 8])
    record_steps(tmp_path, [8], first_step=4)
    assert [e.step for e in read(tmp_path).Scalars("train_loss")] == [4, 8]
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch, capsys):
    """And what comes later is written."""
    sync, full = os.fsync, []

    def fail_at(fd):
        sync(fd)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail_at)
    pictures = Mock(spec=Pictures, latest=PICTURE)
    events = Events(tmp_path, pictures)
    events.on_start(Mock(spec=View, step=0))
    for step in (4, 8, 12):
        full[:] = [step] if step == 8 else []
        fields = {"step": step, "epoch": step, "record": {"train_loss": step / 10}}
        events.on_epoch(Mock(spec=View, parameters=WEIGHTS, activations=SILENT, **fields))
    assert [e.step for e in read(tmp_path).Scalars("train_loss")] == [4, 12]
    assert "events of epoch 8 cannot be written: the disk or the quota is full" in (
        capsys.readouterr().err
    )


def test_a_folder_that_is_gone_ends_the_run(tmp_path):
    with pytest.raises(RunError, match="events of epoch 4 cannot be written: No such file"):
        record_steps(tmp_path / "gone", [4])
