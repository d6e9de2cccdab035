from typing import Any

import numpy as np
import pytest

from benchmarks.common.workers import WorkerFailed, in_process
from benchmarks.scaling import dataset, point
from benchmarks.scaling.growth import SMOKE, Point
from flaxae.data import DataConfig, store
from flaxae.training.epoch import Call, EpochSums

_STATE: Any = 0.0  # an array to block on


def test_the_images_are_those_that_flaxae_opens_without_decoding(tmp_path):
    dataset.write(tmp_path, 23, 9)
    splits = store.load(DataConfig(dataset=dataset.NAME, data_dir=str(tmp_path)))
    images = splits["train"].images
    assert isinstance(images, np.memmap)
    assert images.shape == (23, 9, 9, 1)
    assert images.filename == dataset.images_path(tmp_path)
    assert images.std() > 50
    assert splits["train"].labels is not None
    size = sum(file.stat().st_size for file in tmp_path.rglob("*.npy"))
    assert size - 6 * 128 <= dataset.size(23, 9)  # 128 bytes of header each


def test_images_are_written_whole_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "_CHUNK", 1000)
    dataset.write(tmp_path, 50, 9)
    assert np.load(dataset.images_path(tmp_path)).shape == (50, 9, 9, 1)


def test_a_process_refuses_another_dataset_with_the_reason(tmp_path):
    dataset.write(tmp_path, 23, 9)
    with pytest.raises(WorkerFailed, match=r"^process: ValueError: .* \(23, 9, 9, 1\)$"):
        in_process(point.measure, tmp_path, Point(24, 9, 8), SMOKE.filters, 1)


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
