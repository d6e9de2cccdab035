"""The proof that both layouts compute the same logits, loss and gradients."""

from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.train_state import TrainState

from benchmarks.layouts.programs import loss_and_logits
from flaxae.data.batches import Batch
from flaxae.errors import RunError

# Bounds of ||a - b|| / ||b||. The layouts add up in different orders. In bfloat16 this also changes
# how activations are rounded, and near zero the sign of a ReLU's input.
TOLERANCES = {"float32": 2e-4, "bfloat16": 5e-2}
Outcome = dict[str, Any]  # logits, loss and the tree of gradients


class Proof(NamedTuple):
    """The relative differences between the layouts, and their bound."""

    logits: float
    loss: float
    grads: float  # of the parameter whose gradients differ most
    tolerance: float


class LayoutsDiffer(RunError):
    """The layouts do not compute the same."""


def prove_equal(states: dict[str, TrainState], batch: Batch, dtype: str) -> Proof:
    """Compares logits, loss and gradients of the layouts, with float32 products in full precision.

    JAX's default precision, which is timed, is TF32 or bfloat16 on recent GPUs and TPUs. That is
    too coarse for a proof.

    Raises:
        LayoutsDiffer: a difference is above the tolerance of `dtype`, or a number is not finite.
    """

    def outcome(state: TrainState) -> Outcome:
        loss_fn = jax.value_and_grad(lambda p: loss_and_logits(state, p, batch), has_aux=True)
        (loss, logits), grads = loss_fn(state.params)
        return {"logits": logits, "loss": loss, "grads": grads}

    with jax.default_matmul_precision("highest"):
        return compare(*(jax.jit(outcome)(s) for s in states.values()), tolerance=TOLERANCES[dtype])


def compare(one: Outcome, other: Outcome, tolerance: float) -> Proof:
    """The relative differences of two outcomes; raises as `prove_equal`."""
    differences: dict[str, float] = {}
    for name in ("logits", "loss", "grads"):
        leaves = (jax.tree.leaves(each[name]) for each in (one, other))
        difference = max(map(_difference, *leaves))
        differences[name] = difference
        if difference > tolerance:
            raise LayoutsDiffer(
                f"{name} of NHWC and NCHW have a relative difference of {difference:.2g}, above "
                f"the tolerance of {tolerance:.2g}; timings would not compare equal work"
            )
    return Proof(**differences, tolerance=tolerance)


def _difference(one: Any, other: Any) -> float:
    """||a - b|| / ||b||; infinite if a number is not finite."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    size = np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / (size if size > 0 else 1))
