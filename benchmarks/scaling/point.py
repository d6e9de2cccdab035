"""One point of a sweep, measured in a process of its own: a JSON object in, another one out.

    python -m benchmarks.scaling_point '{"folder": ..., "images": 5000, "side": 28, ...}'

It goes the way of `flaxae train`: opens the prepared dataset, places, compiles, and runs steps of
epochs. A process of its own, because the most memory that was held is a property of a process.
"""

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from flax.training.train_state import TrainState

from benchmarks.common import device
from benchmarks.common.memory import mapped_of, private_growth
from benchmarks.scaling.dataset import NAME, images_path
from benchmarks.train_step.worker import peak_bytes
from flaxae.config import ComputeConfig, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from flaxae.data import store
from flaxae.models.autoencoder import Autoencoder
from flaxae.training.devices import keep_compiled_programs, place, use_every_core
from flaxae.training.epoch import EpochSums, Images, Trainer
from flaxae.training.step import create_train_state, make_rngs

_SHORTEST_BURST = 0.1  # seconds
_LONGEST = 20.0  # seconds, after which bursts end, if there were some
_FEWEST_BURSTS = 3  # but where fewer are asked for
_PICKED = 20  # batches in a sample of picking


class Request(NamedTuple):
    """What to measure."""

    folder: str  # holds the prepared dataset
    images: int
    side: int
    batch: int
    repeats: int
    filters: Sequence[int]


def main(text: str) -> int:
    """Measures and replies on standard output; returns the exit status."""
    # The reply has standard output's pipe for itself; whatever libraries print goes to errors.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        reply = measure(Request(**json.loads(text)))
    except Exception as error:  # told to whoever asked, whatever it is
        reply = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply), file=replies, flush=True)
    return 1 if "error" in reply else 0


def measure(request: Request) -> dict[str, Any]:
    """Samples in seconds and memory in bytes, in the order in which a training run meets them."""
    jax.config.update("jax_enable_compilation_cache", False)  # cached, compilation would look free
    config = configure(request)
    use_every_core(config.model)
    keep_compiled_programs(config.compute.compilation_cache)
    repeats = range(request.repeats)
    samples = {"open_seconds": [timed(lambda: store.load(config.data)) for _ in repeats]}
    images = store.load(config.data)["train"].images
    if images.shape != (request.images, request.side, request.side, 1):
        raise ValueError(f"{request.folder} holds images of the shape {images.shape}")

    rngs, placement = make_rngs(config.seed), place(config, images.shape[1:])
    model = Autoencoder(config.model, config.compute, images.shape[1:])
    state = placement.replicate(create_train_state(model, config.optimizer, rngs.init))
    trainer = Trainer(config, images, placement, rngs.train)
    samples["compile_seconds"] = [timed(lambda: trainer.compile(state, 0))]

    map_all(config, images)
    peak = peak_bytes()  # kept here, because the next lines make the system forget it
    _, order = private_growth(lambda: shuffle(config, images, epoch=2))
    samples["shuffle_seconds"] = [timed(partial(shuffle, config, images, turn)) for turn in repeats]
    samples["pick_seconds"] = [pick(config, images, turn) for turn in repeats]
    steps, step = private_growth(lambda: bursts(trainer, state, request.repeats))
    samples["step_seconds"] = steps
    return {
        "device": device.describe_device(),
        "steps_per_epoch": trainer.steps_per_epoch,
        "micro_batch": placement.micro_batch,
        "samples": samples,
        "memory": {
            "peak_bytes": max(peak, peak_bytes()),
            # Where the device has memory of its own, a step's is there.
            "step_bytes": device.peak_bytes() or step,
            "mapped_bytes": mapped_of(images_path(Path(request.folder))),
            "order_bytes": order,
        },
    }


def configure(request: Request) -> TrainConfig:
    """The flags of the training run that is measured; the rest are the defaults."""
    return TrainConfig(
        model=ModelConfig(filters=tuple(request.filters)),
        data=DataConfig(dataset=NAME, data_dir=str(Path(request.folder).absolute())),
        optimizer=OptimizerConfig(batch_size=request.batch),
        compute=ComputeConfig(compilation_cache="off"),
    )


def map_all(config: TrainConfig, images: Images) -> None:
    """Picks every batch of an epoch once, which maps whatever a training run would map."""
    for _ in store.training_batches(images, config.optimizer.batch_size, config.seed, 1):
        pass


def shuffle(config: TrainConfig, images: Images, epoch: int) -> list[store.Rows]:
    """The rows of an epoch's first few batches: the whole epoch is shuffled for the first."""
    batches = store.training_rows(len(images), config.optimizer.batch_size, config.seed, epoch)
    return list(itertools.islice(batches, _PICKED))


def pick(config: TrainConfig, images: Images, epoch: int) -> float:
    """Seconds to gather the images of a batch once its rows are known, as a mean over some."""
    batches = shuffle(config, images, epoch)

    def gather() -> None:
        for batch in batches:
            images[batch.rows]

    return timed(gather) / len(batches)


def bursts(trainer: Trainer, state: TrainState, repeats: int) -> list[float]:
    """Seconds a step, of bursts of steps that last a tenth of a second or are one call long."""
    state, warm_up = burst(trainer, state, epoch=1, calls=1)
    # Not the first epoch's first call: its pages and threads are new.
    state, seconds = burst(trainer, state, 2, 1) if warm_up < _LONGEST / 10 else (state, warm_up)
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
    """The first calls of an epoch; seconds a step, without the shuffling before the first."""
    asked: list[float] = []

    def stop() -> bool:
        # Asked before every call, when its batch has been picked.
        asked.append(time.perf_counter())
        return len(asked) > calls

    state, sums = trainer.run_epoch(state, epoch, EpochSums(), lambda *_: None, stop)
    jax.block_until_ready(state)
    return state, (time.perf_counter() - asked[0]) / sums.steps


def timed(work: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
