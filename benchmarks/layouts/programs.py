"""One model in both layouts from the same parameters: its programs, and the proof that they agree.

Only this file of the benchmark knows flaxae's model and training step.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState

import flaxae
from flaxae.data.batches import Batch
from flaxae.errors import RunError
from flaxae.objectives.losses import sigmoid_cross_entropy
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.step import gradient_sums, to_float, train_step

LAYOUTS = ("NHWC", "NCHW")
# Bounds of ||a - b|| / ||b||. The layouts add up in different orders. In bfloat16 this also changes
# how activations are rounded, and near zero the sign of a ReLU's input.
TOLERANCES = {"float32": 2e-4, "bfloat16": 5e-2}


class Combination(NamedTuple):
    """What one row of the comparison fixes; the fields are as in flaxae's configuration."""

    model: str
    filters: tuple[int, ...]
    downsample: str
    dtype: str
    batch_size: int
    kernels: str
    image_shape: tuple[int, int, int]


class Proof(NamedTuple):
    """The relative differences between the layouts, and their bound."""

    logits: float
    loss: float
    grads: float  # of the parameter whose gradients differ most
    tolerance: float


def make_states(combination: Combination) -> dict[str, TrainState]:
    """A state for each layout with copies of the same parameters."""
    own: Any = combination  # its words are those of the configuration's Literal types
    blocks = {"filters": own.filters, "downsample": own.downsample}
    flags = blocks if own.model == "convolutional" else {}
    config = flaxae.preset("original", model=own.model, **flags)
    models = {}
    for layout in LAYOUTS:
        compute = flaxae.ComputeConfig(layout=layout, dtype=own.dtype, kernels=own.kernels)
        models[layout] = config.model.build(compute, own.image_shape)
    optimizer = make_optimizer(config.optimizer, steps=1)
    state = create_train_state(models["NHWC"], optimizer, make_rngs(0).init)
    copies = {layout: jax.tree.map(jnp.copy, state) for layout in LAYOUTS}
    return {o: copy.replace(apply_fn=models[o].apply) for o, copy in copies.items()}


def make_batches(combination: Combination, count: int) -> list[Batch]:
    """Different batches of random pixels, on the device."""
    size = combination.batch_size
    shape = (count, size, *combination.image_shape)
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    rows, mask = np.arange(size, dtype=np.int32), np.ones(size, bool)
    return [jax.device_put(Batch(images, rows, mask)) for images in pixels]


def loss_and_logits(params: Any, state: TrainState, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The mean loss in nats a pixel and the logits of the forward pass."""
    images = to_float(batch.images)
    logits = state.apply_fn({"params": params}, images)
    return jnp.mean(sigmoid_cross_entropy(logits, images)), logits


def compile_pass(
    name: str, state: TrainState, batch: Batch, joined: bool = False
) -> tuple[jax.stages.Lowered, jax.stages.Compiled, float, Callable[[Batch], Any]]:
    """The pass "train" (gradients and AdamW) or "forward" (the loss alone) as a compiled program.

    `joined` is as training has it with the GPU form. The seconds are those of its compilation,
    without tracing; the function dispatches one call.
    """
    rng = make_rngs(0).train
    latest = [jax.tree.map(jnp.copy, state)]  # a copy, because each step donates its state

    def train(batch: Batch) -> Any:
        latest[0], metrics = executable(latest[0], batch, rng)
        return metrics

    if name == "train":
        # The sums of the whole batch, on one device.
        sums = partial(gradient_sums, config=flaxae.ObjectiveConfig(), joined=joined)
        step = jax.jit(partial(train_step, sums=sums, joined=joined), donate_argnums=0)
        lowered = step.lower(state, batch, rng)
    else:
        forward = jax.jit(lambda params, batch: loss_and_logits(params, state, batch)[0])
        lowered = forward.lower(state.params, batch)
    start = time.perf_counter()
    executable = lowered.compile()
    seconds = time.perf_counter() - start
    run = train if name == "train" else partial(executable, state.params)
    return lowered, executable, seconds, run


def prove_equal(states: dict[str, TrainState], batch: Batch, dtype: str) -> Proof:
    """Compares logits, loss and gradients, with float32 products in full precision."""
    outcome = jax.jit(jax.value_and_grad(loss_and_logits, has_aux=True))
    # JAX's default, which is timed, is too coarse: TF32 or bfloat16 on recent GPUs and TPUs.
    with jax.default_matmul_precision("highest"):
        outcomes = (outcome(state.params, state, batch) for state in states.values())
        named = ({"logits": y, "loss": loss, "grads": grads} for (loss, y), grads in outcomes)
        return compare(*named, tolerance=TOLERANCES[dtype])


def compare(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> Proof:
    """The relative differences of two outcomes; RunError if one is not within the tolerance."""
    differences: dict[str, float] = {}
    for name in ("logits", "loss", "grads"):
        difference = max(map(_difference, *(jax.tree.leaves(each[name]) for each in (one, other))))
        differences[name] = difference
        if difference > tolerance:
            raise RunError(
                f"{name} of NHWC and NCHW have a relative difference of {difference:.2g}, above "
                f"the tolerance of {tolerance:.2g}; timings would not compare equal work"
            )
    return Proof(**differences, tolerance=tolerance)


def _difference(one: Any, other: Any) -> float:
    """||a - b|| / ||b||; infinite if a number is not finite."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1))
