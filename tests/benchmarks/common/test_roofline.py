import jax
import jax.numpy as jnp
import pytest

from benchmarks.common import roofline
from benchmarks.common.roofline import Ceilings, Cost


@pytest.mark.parametrize(
    ("flops", "size", "seconds"), [(300, 10, 3), (100, 50, 5), (None, 50, None), (100, None, None)]
)
def test_the_floor_is_the_larger_of_arithmetic_and_memory(flops, size, seconds):
    assert roofline.floor_seconds(Cost(flops, size), Ceilings(100, 10, 512)) == seconds


class _Stage:
    def __init__(self, analysis: object) -> None:
        self.analysis = analysis

    def cost_analysis(self) -> object:
        return self.analysis


@pytest.mark.parametrize(
    ("analysis", "expected"),
    [
        ({"flops": 2.0, "bytes accessed": 3.0}, Cost(2, 3)),
        ({"flops": -1.0}, Cost(None, None)),
        ({}, Cost(None, None)),
        (None, Cost(None, None)),
    ],
    ids=str,
)
def test_a_missing_count_is_unknown(analysis: object, expected: Cost):
    assert roofline.cost(_Stage(analysis), _Stage(analysis)) == expected


def test_operations_of_a_matrix_product_are_counted():
    lowered = jax.jit(jnp.matmul).lower(jnp.ones((16, 16)), jnp.ones((16, 16)))
    cost = roofline.cost(lowered, lowered.compile())
    assert cost.flops == 2 * 16**3
    assert cost.bytes_accessed == 3 * 16 * 16 * 4
