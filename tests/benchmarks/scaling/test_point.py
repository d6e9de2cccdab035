from typing import Any

import numpy as np
import pytest

from benchmarks.common import random_images
from benchmarks.common.workers import WorkerFailed, in_process
from benchmarks.scaling import point
from benchmarks.scaling.growth import SMOKE, Point
from flaxae.training.epoch import Call, EpochSums

_STATE: Any = 0.0  # an array to block on


def test_images_are_written_whole_in_chunks_and_can_be_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(random_images, "_CHUNK", 1000)
    random_images.write_images(tmp_path / "images.npy", (50, 9, 9, 1))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert isinstance(images, np.memmap)
    assert images.shape == (50, 9, 9, 1)
    assert images.dtype == np.uint8
    assert images.std() > 50


def test_a_process_refuses_another_dataset_with_the_reason(tmp_path):
    random_images.write_images(tmp_path / "images.npy", (23, 9, 9, 1))
    with pytest.raises(WorkerFailed, match=r"^process: ValueError: .* \(23, 9, 9, 1\)$"):
        in_process(point.measure, tmp_path / "images.npy", Point(24, 9, 8), SMOKE.filters, 1)


class _Trainer:
    """Shuffles for 7 seconds, and takes 2 for a call of 3 steps, 5 calls an epoch."""

    def __init__(self, calls: int = 5) -> None:
        self.now, self.epochs = 0.0, []
        self.calls, self.steps_per_epoch = calls, 3 * calls

    def run_epoch(self, state, epoch, sums, on_call):
        self.now += 7
        self.epochs.append(epoch)
        for _ in range(self.calls):
            self.now += 2
            sums = EpochSums(steps=sums.steps + 3)
            if on_call(Call(state, 3, sums, 0.0)):
                break
        return state, sums


@pytest.mark.parametrize(("calls", "steps"), [(1, 3), (4, 12), (9, 12)])
def test_a_burst_leaves_out_the_shuffling(calls: int, steps: int, monkeypatch):
    trainer: Any = _Trainer()
    monkeypatch.setattr(point.time, "perf_counter", lambda: trainer.now)
    _, seconds = point.burst(trainer, _STATE, 1, calls)
    assert trainer.now == 7 + 2 + 2 * steps / 3  # one call before them
    assert seconds == pytest.approx(2 / 3)


def test_an_epoch_of_one_call_is_timed_as_a_whole(monkeypatch):
    trainer: Any = _Trainer(calls=1)
    monkeypatch.setattr(point.time, "perf_counter", lambda: trainer.now)
    assert point.burst(trainer, _STATE, 1, 4)[1] == pytest.approx((7 + 2) / 3)


def test_bursts_stop_after_the_time_limit(monkeypatch):
    trainer: Any = _Trainer()
    monkeypatch.setattr(point.time, "perf_counter", lambda: trainer.now)
    assert point.bursts(trainer, _STATE, repeats=50) == pytest.approx([2 / 3] * 3)
    assert point.bursts(trainer, _STATE, repeats=2) == pytest.approx([2 / 3] * 2)
    assert len(set(trainer.epochs[:5])) == 5  # each burst has an order of its own
