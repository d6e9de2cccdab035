"""Trains for some seconds as one of several processes, and says how fast.

Only this file of the benchmark knows flaxae's model and trainer.
"""

import json
import os
import sys
import time
from typing import Any

import jax
import numpy as np

import flaxae
from flaxae.training import ProcessesConfig, processes
from flaxae.training.devices import place
from flaxae.training.epoch import Call, EpochSums, Trainer
from flaxae.training.state import create_train_state, make_optimizer, make_rngs

_IMAGES, _SIDE = 4096, 28


def train(point: dict[str, Any], own: int) -> dict[str, Any]:
    """Images a second of all processes together, and the sum of the first epoch's losses."""
    config, compute = flaxae.preset("original"), flaxae.ComputeConfig()
    several = point["processes"] > 1
    flaxae.configure_jax(config.model, devices=point["devices"])
    if several:
        joined = ProcessesConfig(
            coordinator=point["coordinator"], processes=point["processes"], process_id=own
        )
        processes.join(joined, on_failure=lambda failure: os._exit(1))
    shape = (_SIDE, _SIDE, 1)
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, *shape), np.uint8)
    device = flaxae.DeviceConfig(devices=point["devices"])
    placement = place(config.model, compute, device, shape)
    rngs = make_rngs(0)
    trainer = Trainer(
        flaxae.Split(images),
        config.objective,
        placement,
        rngs.train,
        seed=0,
        batch_size=point["batch"],
        data_on_device=False,
    )
    optimizer = make_optimizer(config.optimizer, steps=1)
    state = create_train_state(config.model.build(compute, shape), optimizer, rngs.init)
    weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    state = placement.replicate(state)
    trainer.compile(state, 0)
    processes.gather("the first step")
    state, sums = trainer.run_epoch(state, 1, EpochSums(), _go_on)  # not timed
    first, start, epochs = sums.means()["loss"], time.perf_counter(), 0
    while True:
        state, _ = trainer.run_epoch(state, epochs + 2, EpochSums(), _go_on)
        epochs += 1
        took = time.perf_counter() - start
        if processes.from_first("the time", took >= point["seconds"]):
            break
    trained = epochs * trainer.steps_per_epoch * trainer.batch_size
    processes.leave()
    return {"images_per_second": trained / took, "first_loss": first, "weights": weights}


def _go_on(call: Call) -> bool:
    return False


if __name__ == "__main__":
    found = train(json.loads(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(found), flush=True)
    os._exit(0)  # JAX would wait for the others
