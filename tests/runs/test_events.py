import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from flaxae.runs.events import EventLog


def read(folder):
    log = EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0, "scalars": 0})
    return log.Reload()


def write(folder, steps, next_step=1):
    picture = Image.new("RGB", (6, 4), (9, 8, 7))
    weights = {"encoder/kernel": np.linspace(-1, 1, 50, dtype=np.float32)}
    silent = {"encoder/activation": np.array([0, 0, 0, 1], np.float32)}
    with EventLog(folder, next_step) as events:
        for step in steps:
            events.epoch(step, {"train_loss": step / 10}, picture, weights, silent)


def test_tensorboard_reads_what_was_logged(tmp_path):
    write(tmp_path, [4, 8])
    log = read(tmp_path)
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


def test_a_restart_hides_what_no_checkpoint_holds(tmp_path):
    write(tmp_path, [4, 8])
    write(tmp_path, [8], next_step=5)
    assert [e.step for e in read(tmp_path).Scalars("train_loss")] == [4, 8]
