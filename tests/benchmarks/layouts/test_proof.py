import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.training.train_state import TrainState

from benchmarks.layouts.programs import (
    LAYOUTS,
    Combination,
    Proof,
    compare,
    make_batches,
    make_states,
    prove_equal,
)
from flaxae.errors import RunError

_TINY = Combination("convolutional", (2,), "max_pool", "float32", 4, "plain", (8, 8, 1))


@pytest.fixture(scope="module")
def states() -> dict[str, TrainState]:
    return make_states(_TINY)


def test_the_layouts_are_proved_equal():
    combination = _TINY._replace(downsample="stride", image_shape=(9, 7, 3))
    (batch,) = make_batches(combination, 1)
    proof = prove_equal(make_states(combination), batch, "float32")
    assert max(proof[:3]) <= proof.tolerance == 2e-4


def test_the_proof_fails_on_another_function(states: dict[str, TrainState]):
    apply = states["NHWC"].apply_fn
    other = states["NHWC"].replace(apply_fn=lambda *given, **named: apply(*given, **named) * 1.001)
    (batch,) = make_batches(_TINY, 1)
    with pytest.raises(RunError, match=r"^logits of NHWC and NCHW have .* difference of 0\.001,"):
        prove_equal({"NHWC": other, "NCHW": states["NHWC"]}, batch, "float32")


@pytest.mark.parametrize("part", ["logits", "loss", "grads"])
@pytest.mark.parametrize("wrong", [1.1, math.nan, math.inf])
def test_a_difference_anywhere_fails_the_proof(part: str, wrong: float):
    grads = {"a": jnp.ones(3), "b": jnp.ones(2)}
    right = {"logits": jnp.ones((1, 2, 2, 1)), "loss": jnp.float32(1), "grads": grads}
    changed = {"a": jnp.ones(3), "b": jnp.array([1, wrong])}
    value = changed if part == "grads" else right[part] * wrong
    assert compare(right, right, 1e-6) == Proof(0, 0, 0, 1e-6)
    with pytest.raises(RunError, match=part):
        compare(right, right | {part: value}, 1e-6)


def test_both_layouts_start_from_the_same_parameters(states: dict[str, TrainState]):
    jax.tree.map(np.testing.assert_array_equal, *(states[layout].params for layout in LAYOUTS))
    kernel = states["NCHW"].params["encoder"]["blocks_0"]["layers_0"]["kernel"]
    assert kernel.shape == (3, 3, 1, 2)  # HWIO


def test_batches_are_all_different():
    one, other = make_batches(_TINY, 2)
    assert not np.array_equal(one.images, other.images)
    assert np.ptp(one.images) > 0
