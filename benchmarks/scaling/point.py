"""One point of a sweep, measured in a process of its own, because a process has one memory peak.

It does what `flaxae train` does. Only this file of the benchmark knows flaxae's model and trainer.
"""

import itertools
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from flax.training.train_state import TrainState

from benchmarks.common import device
from benchmarks.common.memory import mapped_of, peak_bytes, private_growth
from benchmarks.common.timing import seconds_of
from benchmarks.scaling.dataset import NAME, images_path
from benchmarks.scaling.growth import Point, Row, to_row
from flaxae.config import ComputeConfig, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from flaxae.data import store
from flaxae.models.autoencoder import Autoencoder
from flaxae.training.devices import keep_compiled_programs, place, use_every_core
from flaxae.training.epoch import EpochSums, Images, Trainer
from flaxae.training.step import create_train_state, make_rngs

_SHORTEST_BURST = 0.1  # seconds
_LONGEST = 20.0  # seconds, after which no burst starts once there are enough
_FEWEST_BURSTS = 3
_PICKED = 20  # batches in a sample of picking


def measure(
    folder: Path, point: Point, filters: Sequence[int], repeats: int
) -> tuple[dict[str, Any], Row]:
    """The device and the measurements; `folder` holds the prepared dataset.

    Raises:
        ValueError: the dataset is not that of the point.
    """
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is timed
    config = TrainConfig(
        model=ModelConfig(filters=tuple(filters)),
        data=DataConfig(dataset=NAME, data_dir=str(folder.absolute())),
        optimizer=OptimizerConfig(batch_size=point.batch),
        compute=ComputeConfig(compilation_cache="off"),
    )
    use_every_core(config.model)
    keep_compiled_programs(config.compute.compilation_cache)
    turns = range(repeats)
    opening = [seconds_of(partial(store.load, config.data)) for _ in turns]
    images = store.load(config.data)["train"].images
    if images.shape != (point.images, point.side, point.side, 1):
        raise ValueError(f"{folder} holds images of the shape {images.shape}")

    rngs, placement = make_rngs(config.seed), place(config, images.shape[1:])
    model = Autoencoder(config.model, config.compute, images.shape[1:])
    state = placement.replicate(create_train_state(model, config.optimizer, rngs.init))
    trainer = Trainer(config, images, placement, rngs.train)
    compilation = seconds_of(lambda: trainer.compile(state, 0))

    for _ in store.training_batches(images, point.batch, config.seed, 1):
        pass  # maps the images that an epoch maps
    peak = peak_bytes()  # read here, because `private_growth` resets the system's record
    _, order = private_growth(lambda: shuffle(config, images, epoch=2))
    shuffling = [seconds_of(partial(shuffle, config, images, turn)) for turn in turns]
    picking = [pick(config, images, turn) for turn in turns]
    steps, growth = private_growth(lambda: bursts(trainer, state, repeats))
    samples = {
        "open_seconds": opening,
        "compile_seconds": [compilation],
        "shuffle_seconds": shuffling,
        "pick_seconds": picking,
        "step_seconds": steps,
    }
    memory = {
        "peak_bytes": max(peak, peak_bytes()),
        "step_bytes": device.peak_bytes() or growth,  # of the device, if it has its own memory
        "mapped_bytes": mapped_of(images_path(folder)),
        "order_bytes": order,
    }
    row = to_row(point, trainer.steps_per_epoch, placement.micro_batch, samples, memory)
    return device.describe_device(), row


def shuffle(config: TrainConfig, images: Images, epoch: int) -> list[store.Rows]:
    """The rows of an epoch's first batches; the first one shuffles the whole epoch."""
    batches = store.training_rows(len(images), config.optimizer.batch_size, config.seed, epoch)
    return list(itertools.islice(batches, _PICKED))


def pick(config: TrainConfig, images: Images, epoch: int) -> float:
    """The mean of the seconds that it takes to gather a batch's images by its rows."""
    batches = shuffle(config, images, epoch)
    return seconds_of(lambda: [images[batch.rows] for batch in batches]) / len(batches)


def bursts(trainer: Trainer, state: TrainState, repeats: int) -> list[float]:
    """Seconds a step, of bursts that last a tenth of a second or have one call."""
    state, seconds = burst(trainer, state, epoch=1, calls=1)
    if seconds < _LONGEST / 10:  # the first call includes new threads and memory: time another
        state, seconds = burst(trainer, state, epoch=2, calls=1)
    calls = max(1, math.ceil(_SHORTEST_BURST / seconds))
    samples: list[float] = []
    start = time.perf_counter()
    for epoch in range(3, 3 + repeats):
        state, seconds = burst(trainer, state, epoch, calls)
        samples.append(seconds)
        if len(samples) >= _FEWEST_BURSTS and time.perf_counter() - start > _LONGEST:
            break
    return samples


def burst(trainer: Trainer, state: TrainState, epoch: int, calls: int) -> tuple[TrainState, float]:
    """Runs the first calls of an epoch; seconds a step, without the shuffling before the first."""
    times: list[float] = []

    def stop() -> bool:
        # The trainer calls this before every call of the program, after it has picked the batch.
        times.append(time.perf_counter())
        return len(times) > calls

    state, sums = trainer.run_epoch(state, epoch, EpochSums(), lambda *_: None, stop)
    jax.block_until_ready(state)
    return state, (time.perf_counter() - times[0]) / sums.steps
