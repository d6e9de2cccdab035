"""The step of flaxae. Only this file of the benchmark knows flaxae's model and training step."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState
from flax.traverse_util import flatten_dict, unflatten_dict

import flaxae
from benchmarks.common.roofline import cost
from benchmarks.common.steps import Program, in_jax
from benchmarks.common.steps.workload import Workload, layers
from flaxae.data.batches import Batch
from flaxae.models.options import ModelConfig
from flaxae.training.devices import place
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.step import gradient_sums, to_float, train_step


def build(workload: Workload, form: str) -> Program:
    """`form` is "fast", placed as training places it, or "plain": one device, whole batch."""
    if form == "fast":
        flaxae.configure_jax(model_config(workload), compilation_cache="off")
    run, fresh, rng = make_step(workload, form)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
        state, metrics = run(state, batch, rng)
        return state, metrics.values["loss"]

    def logits(state: TrainState, batch: Batch) -> jax.Array:
        return state.apply_fn({"params": state.params}, to_float(batch.images))

    return in_jax.program(step, fresh, to_batch, logits)


def make_step(workload: Workload, form: str) -> tuple[Any, TrainState, jax.Array]:
    """The jitted `(state, batch, rng) -> (state, metrics)`, the first state, and the rng."""
    compute = flaxae.ComputeConfig() if form == "fast" else flaxae.ComputeConfig(kernels="plain")
    config, rngs = model_config(workload), make_rngs(0)
    # The rate falls only after 1,000 steps, which no burst reaches.
    optimizer = make_optimizer(flaxae.preset("original").optimizer, steps=1)
    fresh = create_train_state(config.build(compute, workload.image_shape), optimizer, rngs.init)
    fresh = fresh.replace(params=with_weights(fresh.params, workload))
    placement = place(config, compute, flaxae.DeviceConfig(), workload.image_shape)
    joined = placement.joined
    sums: Any = partial(gradient_sums, config=flaxae.ObjectiveConfig(), joined=joined)
    if form == "fast":
        sums, fresh = placement.divide(sums), placement.replicate(fresh)
    step = partial(train_step, sums=sums, joined=joined)
    return jax.jit(step, donate_argnums=0), fresh, rngs.train


def count_flops(workload: Workload, batch_size: int) -> float | None:
    """XLA's count for a step of the plain form before compilation; None if XLA does not count.

    A multiplication and an addition are two operations. The fast form also multiplies zeros.
    """
    run, fresh, rng = make_step(workload, "plain")
    batch = to_batch(np.zeros((batch_size, *workload.image_shape), np.uint8))
    lowered = run.lower(fresh, batch, rng)
    return cost(lowered, lowered).flops


def with_weights(params: Any, workload: Workload) -> Any:
    """A tree like flaxae's parameters with the weights of the workload."""
    flat: dict[str, Any] = {**flatten_dict(params, sep="/")}
    for (kernel, bias), layer in zip(_paths(flat), layers(workload), strict=True):
        flat |= {kernel: jnp.asarray(layer.kernel), bias: jnp.asarray(layer.bias)}
    return unflatten_dict(flat, sep="/")


def weights_of(params: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The weights of flaxae's parameters as a workload takes them."""
    flat: dict[str, Any] = {**flatten_dict(params, sep="/")}
    return [(np.array(flat[kernel]), np.array(flat[bias])) for kernel, bias in _paths(flat)]


def _paths(flat: dict[str, Any]) -> list[tuple[str, str]]:
    """Each layer's kernel and bias, in the order in which an image passes the layers."""
    kernels = sorted(
        (path for path in flat if path.endswith("kernel")),
        key=lambda path: ("decoder" in path, "layers_" not in path, "out_" in path, path),
    )
    return [(path, path.removesuffix("kernel") + "bias") for path in kernels]


def to_batch(images: np.ndarray) -> Batch:
    """A batch on the host: its transfer to the device is a part of flaxae's step."""
    return Batch(images, np.arange(len(images), dtype=np.int32), np.ones(len(images), bool))


def model_config(workload: Workload) -> ModelConfig:
    """The options of the workload's model."""
    own: Any = workload.activation  # its declared type is a Literal
    if workload.model == "fully_connected":
        return flaxae.FullyConnectedConfig(hidden_units=workload.hidden_units, activation=own)
    downsample = "stride" if workload.model == "convolutional_stride" else "max_pool"
    return flaxae.ConvolutionalConfig(
        filters=workload.filters, downsample=downsample, activation=own
    )
