"""flaxae's training in a process, as `flaxae train` does it, and the same workload for its peers.

Only this file of the benchmark knows flaxae's trainer.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState

import flaxae
from benchmarks.common.steps.in_flaxae import weights_of
from benchmarks.common.steps.workload import Recipe, Workload
from flaxae.training.devices import place
from flaxae.training.epoch import Call, EpochSums, Trainer
from flaxae.training.schedules import make_schedule
from flaxae.training.state import create_train_state, evaluated, make_optimizer, make_rngs
from flaxae.training.validation import evaluate, make_eval_step


def total_steps(config: flaxae.TrainConfig, train: flaxae.Split) -> int:
    """Of all epochs; images that do not fill a batch are left out."""
    return config.epochs * (len(train.images) // config.optimizer.batch_size)


def first_state(config: flaxae.TrainConfig, train: flaxae.Split) -> TrainState:
    """The state that flaxae's training starts from."""
    tx = make_optimizer(config.optimizer, total_steps(config, train))
    model = config.model.build(config.compute, train.image_shape)
    return create_train_state(model, tx, make_rngs(config.seed).init)


def for_peers(config: flaxae.TrainConfig, train: flaxae.Split) -> Workload:
    """flaxae's model, its first weights, and its optimizer with the rate of each step."""
    model: Any = config.model
    steps, own, shape = total_steps(config, train), config.optimizer, train.image_shape
    rates = np.asarray(jax.vmap(make_schedule(own, steps))(jnp.arange(steps)))
    recipe = Recipe(rates, own.beta2, own.weight_decay)
    weights = weights_of(first_state(config, train).params)
    return Workload(model.name, model.filters, (), shape, model.activation, weights, recipe)


class OwnTraining:
    """The function of a worker: answers the requests "build", "train" and "validate"."""

    def __init__(self, config: flaxae.TrainConfig, *splits: flaxae.Split) -> None:
        self.config = config
        self.split, self.validation = splits

    def __call__(self, request: str, *numbers: int) -> Any:
        return getattr(self, request)(*numbers)

    def build(self) -> tuple[str, float]:
        """The device, and the seconds until a call has run: compilation, but no imports."""
        start, config, split = time.perf_counter(), self.config, self.split
        jax.config.update("jax_enable_compilation_cache", False)  # compilation is timed
        flaxae.configure_jax(config.model, compilation_cache="off")
        placement = place(config.model, config.compute, config.device, split.image_shape)
        self.rngs = make_rngs(config.seed)
        options: Any = {"seed": config.seed, "batch_size": config.optimizer.batch_size}
        options["data_on_device"] = config.device.data_on_device
        self.trainer = Trainer(split, config.objective, placement, self.rngs.train, **options)
        self.state = placement.replicate(first_state(config, split))
        self.trainer.compile(self.state, 0)
        used = jax.tree.map(jnp.copy, self.state)  # a copy, because a step donates its state
        self.trainer.run_epoch(used, 1, EpochSums(), lambda call: True)
        seconds = time.perf_counter() - start
        self.eval_step = make_eval_step(config.objective, placement, ())
        return jax.default_backend(), seconds

    def train(self, epoch: int, first: int, until: int) -> tuple[int, float]:
        """Trains from step `first` of an epoch to the end of the call that reaches `until`.

        Returns the steps of the epoch so far, and the seconds of this request.
        """

        def enough(call: Call) -> bool:
            return call.sums.steps + call.steps >= until

        start = time.perf_counter()
        state, sums = self.trainer.run_epoch(self.state, epoch, EpochSums(steps=first), enough)
        self.state = jax.block_until_ready(state)
        return sums.steps, time.perf_counter() - start

    def validate(self) -> float:
        """The mean loss of the validation split, in batches of 100."""
        inputs = (evaluated(self.state), self.validation, 100, self.rngs.evaluate)
        return evaluate(self.eval_step, *inputs)["loss"]
