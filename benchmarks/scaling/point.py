"""One point of a sweep, measured in a process of its own, because a process has one memory peak.

It does what `flaxae train` does. Only this file of the benchmark knows flaxae's model and trainer.
"""

import itertools
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.training.train_state import TrainState

import flaxae
from benchmarks.common import device
from benchmarks.common.memory import mapped_of, peak_bytes, private_growth
from benchmarks.common.timing import seconds_of
from benchmarks.scaling.growth import Point, Row, median_seconds
from flaxae.data.batches import epoch_order, training_batches, training_rows
from flaxae.training.devices import place
from flaxae.training.epoch import Call, EpochSums, Trainer
from flaxae.training.state import create_train_state, make_optimizer, make_rngs

_SEED = 0
_SHORTEST_BURST = 0.1  # seconds
_LONGEST = 20.0  # seconds, after which no burst starts once there are enough
_FEWEST_BURSTS = 3
_PICKED = 20  # batches in a sample of picking


def measure(
    file: Path, point: Point, filters: tuple[int, ...], repeats: int
) -> tuple[dict[str, Any], Row]:
    """The device and the measurements; `file` holds the images."""
    jax.config.update("jax_enable_compilation_cache", False)  # compilation is timed
    config, compute = flaxae.preset("original", filters=filters), flaxae.ComputeConfig()
    model = config.model
    flaxae.configure_jax(model, compilation_cache="off")
    opening, turns = partial(np.load, file, mmap_mode="r"), range(repeats)
    split = flaxae.Split(opening())
    if split.images.shape != (point.images, point.side, point.side, 1):
        raise ValueError(f"{file} holds images of the shape {split.images.shape}")
    samples = {"open_seconds": [seconds_of(opening) for _ in turns]}

    placement = place(model, compute, flaxae.DeviceConfig(), split.image_shape)
    rngs = make_rngs(_SEED)
    optimizer = make_optimizer(config.optimizer, steps=1)
    state = create_train_state(model.build(compute, split.image_shape), optimizer, rngs.init)
    state = placement.replicate(state)
    options: dict[str, Any] = {"batch_size": point.batch, "data_on_device": False, "seed": _SEED}
    trainer = Trainer(split, flaxae.ObjectiveConfig(), placement, rngs.train, **options)
    samples["compile_seconds"] = [seconds_of(lambda: trainer.compile(state, 0))]

    for _ in training_batches(split, point.batch, _SEED, epoch=1):
        pass  # maps the images that an epoch maps
    peak = peak_bytes()  # read here, because `private_growth` resets the system's record
    _, order = private_growth(lambda: epoch_order(_SEED, 2, point.images))
    samples["shuffle_seconds"] = [
        seconds_of(partial(epoch_order, _SEED, turn, point.images)) for turn in turns
    ]
    samples["pick_seconds"] = [pick(split, point.batch, turn) for turn in turns]
    samples["step_seconds"], growth = private_growth(lambda: bursts(trainer, state, repeats))
    values = {
        **median_seconds(samples, trainer.steps_per_epoch),
        "peak_bytes": max(peak, peak_bytes()),
        "step_bytes": device.peak_bytes() or growth,  # of the device, if it has its own memory
        "mapped_bytes": mapped_of(file),
        "order_bytes": order,
    }
    row = Row(point, trainer.steps_per_epoch, placement.micro_batch, values, samples)
    return device.describe_device(), row


def pick(split: flaxae.Split, batch_size: int, epoch: int) -> float:
    """The mean of the seconds that it takes to gather a batch's images by its rows."""
    rows = training_rows(len(split.images), batch_size, _SEED, epoch)
    batches = list(itertools.islice(rows, _PICKED))
    return seconds_of(lambda: [split.images[batch.rows] for batch in batches]) / len(batches)


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
    """Seconds a step after an epoch's first call, or of its only call, with its short shuffling."""
    start, left_out, made = time.perf_counter(), 0, 0

    def on_call(call: Call) -> bool:
        nonlocal start, left_out, made
        made += 1
        if made == 1 and call.steps < trainer.steps_per_epoch:
            jax.block_until_ready(call.state)
            start, left_out = time.perf_counter(), call.steps
        return made > calls

    state, sums = trainer.run_epoch(state, epoch, EpochSums(), on_call)
    jax.block_until_ready(state)
    return state, (time.perf_counter() - start) / (sums.steps - left_out)
