"""The step of flaxae: as `flaxae train` runs it on this machine, and in its plain form."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState

from benchmarks.common.roofline import cost
from benchmarks.train_step.steps.program import Program
from benchmarks.train_step.steps.workload import Layer, Workload, decoder_layers, layers
from flaxae.config import ComputeConfig, ModelConfig, TrainConfig
from flaxae.data.store import Batch
from flaxae.models.autoencoder import Autoencoder
from flaxae.training.devices import place, use_every_core
from flaxae.training.parts import BatchSums
from flaxae.training.step import create_train_state, gradient_sums, make_rngs, train_step


class Parts(NamedTuple):
    """The compiled function and what it starts from."""

    run: Any  # jitted: (state, batch, rng) -> (state, metrics)
    fresh: TrainState
    rng: jax.Array


def build(workload: Workload, variant: str) -> Program:
    """`variant` is "fast", placed as training places it, or "plain": one device, whole batch."""
    if variant == "fast":
        use_every_core(_model_config(workload))
    run, fresh, rng = make_parts(workload, variant)
    state: list[TrainState] = []

    def restart() -> None:
        # A copy: each step consumes the state that the last one left.
        state[:] = [jax.tree.map(jnp.copy, fresh)]

    def step(batch: Batch) -> jax.Array:
        state[0], metrics = run(state[0], batch, rng)
        return metrics.loss

    def wait(loss: jax.Array) -> float:
        jax.block_until_ready(state)
        return float(loss)

    restart()
    return Program(restart, to_batch, step, wait, jax.default_backend(), {"jax": jax.__version__})


def make_parts(workload: Workload, variant: str) -> Parts:
    """The training step of a variant, with the workload's weights."""
    config = TrainConfig(model=_model_config(workload), compute=_COMPUTE[variant])
    model = Autoencoder(config.model, config.compute, workload.image_shape)
    rngs = make_rngs(config.seed)
    fresh = create_train_state(model, config.optimizer, rngs.init)
    fresh = fresh.replace(params=params(workload, layers(workload)))
    sums: BatchSums = partial(gradient_sums, noise_factor=0.0)
    if variant == "fast":
        placement = place(config, workload.image_shape)
        sums, fresh = placement.divide(sums), placement.replicate(fresh)
    run = jax.jit(partial(train_step, sums=sums), donate_argnums=0)
    return Parts(run, fresh, rngs.train)


def count_flops(workload: Workload, batch_size: int) -> float | None:
    """XLA's count for one step of the plain form, before it compiles it; None where it is silent.

    A multiplication and an addition are two. The fast form computes more, because some of its
    products are with zeros; a floor is one of the meaning.
    """
    run, fresh, rng = make_parts(workload, "plain")
    batch = to_batch(np.zeros((batch_size, *workload.image_shape), np.uint8))
    lowered = run.lower(fresh, batch, rng)
    return cost(lowered, lowered).flops


def params(workload: Workload, every: list[Layer]) -> dict[str, Any]:
    """The parameters of flaxae's model, by their names there."""
    first = decoder_layers(workload, every)
    encoder, decoder = every[:first], every[first:]
    if workload.model == "fully_connected":
        *hidden, pixels = decoder
        return {
            "encoder": {f"layers_{i}": _named(layer) for i, layer in enumerate(encoder)},
            "decoder": {f"layers_{i}": _named(layer) for i, layer in enumerate(hidden)}
            | {"pixels": _named(pixels)},
        }
    *hidden, up, out = decoder
    size = len(encoder) // len(workload.filters)  # layers in a block
    return {
        "encoder": {
            f"blocks_{block}": {
                f"layers_{i}": _named(encoder[block * size + i]) for i in range(size)
            }
            for block in range(len(workload.filters))
        },
        "decoder": {f"layers_{i}": _named(layer) for i, layer in enumerate(hidden)}
        | {"head": _named(up, "up_") | _named(out, "out_")},
    }


def _named(layer: Layer, prefix: str = "") -> dict[str, jax.Array]:
    return {
        f"{prefix}kernel": jnp.asarray(layer.kernel),
        f"{prefix}bias": jnp.asarray(layer.bias),
    }


def to_batch(images: np.ndarray) -> Batch:
    """A batch on the host: its way to the device is part of flaxae's step."""
    return Batch(images, np.arange(len(images), dtype=np.int32), np.ones(len(images), bool))


def _model_config(workload: Workload) -> ModelConfig:
    return ModelConfig(
        model="fully_connected" if workload.model == "fully_connected" else "convolutional",
        filters=workload.filters,
        hidden_units=workload.hidden_units,
        downsample="stride" if workload.model == "convolutional_stride" else "max_pool",
    )


_COMPUTE = {"fast": ComputeConfig(), "plain": ComputeConfig(kernels="plain")}
