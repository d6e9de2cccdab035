"""The two programs of a comparison: one model in either layout, from the same parameters.

The model is measured as its users run it: NHWC bytes come in, and the layout is one of the inside.
With one channel the way in and out is a reshape; with more it is a transposition, which NCHW pays
for and which the table counts.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from jaxtyping import Array, Float

from benchmarks.common.roofline import Cost, cost
from flaxae.config import ComputeConfig, ModelConfig, OptimizerConfig
from flaxae.data.store import Batch
from flaxae.models.autoencoder import Autoencoder
from flaxae.objectives.losses import reconstruction_loss
from flaxae.training.step import create_train_state, gradient_sums, make_rngs, to_float, train_step

LAYOUTS = ("NHWC", "NCHW")

# The largest ||a - b|| / ||b|| of logits, loss and each gradient between the layouts. Both compute
# the same sums in another order. In bfloat16 that moves roundings of activations too, and a unit
# at the edge of its ReLU or of a maximum that falls to the other side moves a whole gradient.
TOLERANCES = {"float32": 2e-4, "bfloat16": 5e-2}


class Combination(NamedTuple):
    """One row of the comparison."""

    model: str
    filters: tuple[int, ...]
    downsample: str
    dtype: str
    batch_size: int
    kernels: str
    image_shape: tuple[int, int, int]


class Outcome(NamedTuple):
    """What both layouts have to agree on."""

    logits: Float[Array, "batch height width channels"]
    loss: Float[Array, ""]
    grads: Any


class Proof(NamedTuple):
    """The largest relative differences between the layouts, and the bound that they kept."""

    logits: float
    loss: float
    grads: float  # of that parameter whose gradients differ most
    tolerance: float


class Compiled(NamedTuple):
    """A program, and what it took to make it."""

    executable: Any  # jax.stages.Compiled
    cost: Cost
    trace_seconds: float
    compile_seconds: float
    run: Callable[[Batch], Any]  # dispatches one call


class LayoutsDiffer(Exception):
    """The layouts do not compute the same: there is nothing to compare."""


def make_states(combination: Combination) -> dict[str, TrainState]:
    """The state of each layout: parameters made once, and copied, because a step consumes them."""
    config = ModelConfig(
        model=combination.model,  # type: ignore[arg-type]
        filters=combination.filters,
        downsample=combination.downsample,  # type: ignore[arg-type]
    )
    models = {
        layout: Autoencoder(
            config,
            ComputeConfig(layout, combination.dtype, combination.kernels),  # type: ignore[arg-type]
            combination.image_shape,
        )
        for layout in LAYOUTS
    }
    state = create_train_state(models["NHWC"], OptimizerConfig(), make_rngs(0).init)
    return {
        layout: jax.tree.map(jnp.copy, state).replace(apply_fn=model.apply)
        for layout, model in models.items()
    }


def make_batches(combination: Combination, count: int) -> list[Batch]:
    """Batches of random pixels on the device; every one is another, and none is constant."""
    generator = np.random.default_rng(0)
    size = combination.batch_size
    return [
        jax.device_put(
            Batch(
                generator.integers(256, size=(size, *combination.image_shape), dtype=np.uint8),
                np.arange(size, dtype=np.int32),
                np.ones(size, bool),
            )
        )
        for _ in range(count)
    ]


def prove_equal(states: dict[str, TrainState], batch: Batch, dtype: str) -> Proof:
    """Compares logits, loss and gradients of the layouts, float32 in its full precision.

    Timed is JAX's default precision, which on recent GPUs and TPUs is TF32 or bfloat16: good for
    speed, too coarse to prove anything by.

    Raises:
        LayoutsDiffer: something differs by more than the tolerance of `dtype`, or is no number.
    """
    with jax.default_matmul_precision("highest"):
        outcomes = [jax.jit(_outcome_of(state))(state.params, batch) for state in states.values()]
    return compare(*outcomes, tolerance=TOLERANCES[dtype])


def compare(one: Outcome, other: Outcome, tolerance: float) -> Proof:
    """The relative differences of two outcomes.

    Raises:
        LayoutsDiffer: one is above the tolerance, or not a number.
    """
    worst = {
        name: _largest_difference(left, right)
        for name, left, right in zip(Outcome._fields, one, other, strict=True)
    }
    for name, difference in worst.items():
        if not difference <= tolerance:
            raise LayoutsDiffer(
                f"{name} of NHWC and NCHW differ by {difference:.2g} of their size, more than the "
                f"tolerance of {tolerance:.2g}: there is no equal work to time"
            )
    return Proof(**worst, tolerance=tolerance)


def compile_pass(name: str, state: TrainState, batch: Batch) -> Compiled:
    """Compiles the pass "train" (gradients and AdamW) or "forward" (the loss alone)."""
    return {"train": _compile_train, "forward": _compile_forward}[name](state, batch)


def _compile_train(state: TrainState, batch: Batch) -> Compiled:
    rng = make_rngs(0).train
    sums = functools.partial(gradient_sums, noise_factor=0.0)  # of the whole batch, on one device
    step = jax.jit(functools.partial(train_step, sums=sums), donate_argnums=0)
    # The pass owns a copy: each step consumes the state that the last one left.
    latest = [jax.tree.map(jnp.copy, state)]

    def call(executable: Any, batch: Batch) -> Any:
        latest[0], metrics = executable(latest[0], batch, rng)
        return metrics

    return _compile(step, (state, batch, rng), call)


def _compile_forward(state: TrainState, batch: Batch) -> Compiled:
    def forward(params: optax.Params, batch: Batch) -> Float[Array, ""]:
        images = to_float(jnp.asarray(batch.images))
        logits = state.apply_fn({"params": params}, images)
        return jnp.mean(reconstruction_loss(logits, images))

    def call(executable: Any, batch: Batch) -> Any:
        return executable(state.params, batch)

    return _compile(jax.jit(forward), (state.params, batch), call)


def _compile(
    function: Any, arguments: tuple[Any, ...], call: Callable[[Any, Batch], Any]
) -> Compiled:
    start = time.perf_counter()
    lowered = function.lower(*arguments)
    traced = time.perf_counter()
    executable = lowered.compile()
    compiled = time.perf_counter()
    return Compiled(
        executable,
        cost(lowered, executable),
        traced - start,
        compiled - traced,
        functools.partial(call, executable),
    )


def _outcome_of(state: TrainState) -> Callable[[optax.Params, Batch], Outcome]:
    def outcome(params: optax.Params, batch: Batch) -> Outcome:
        images = to_float(jnp.asarray(batch.images))

        def loss_fn(params: optax.Params) -> tuple[Array, Array]:
            logits = state.apply_fn({"params": params}, images)
            return jnp.mean(reconstruction_loss(logits, images)), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        return Outcome(logits, loss, grads)

    return outcome


def _largest_difference(one: Any, other: Any) -> float:
    """The largest ||a - b|| / ||b|| of two trees' leaves, in float64 on the host.

    NaN where any number is not finite: Python's `max` would drop it.
    """
    largest = 0.0
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return math.nan
        size = np.linalg.norm(b)
        largest = max(largest, float(np.linalg.norm(a - b) / (size if size > 0 else 1)))
    return largest
