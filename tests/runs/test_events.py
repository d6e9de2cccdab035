from unittest.mock import Mock

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import SummaryWriter

from flaxae.runs.events import Events, write_epoch
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
        view = Mock(spec=View, step=step, record=record, parameters=WEIGHTS, activations=SILENT)
        events.on_epoch(view)
    events.on_end(Mock(spec=View))


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


def test_tensorboard_reads_what_was_written(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (4, 8):
            write_epoch(writer, step, {"train_loss": step / 10}, PICTURE, WEIGHTS, SILENT)
    assert_complete(read(tmp_path))


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


def test_a_run_that_failed_before_its_start_leaves_no_file(tmp_path):
    Events(tmp_path).on_end(Mock(spec=View))
    assert list(tmp_path.iterdir()) == []
