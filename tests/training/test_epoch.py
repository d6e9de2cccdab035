import jax
import pytest

from flaxae.config import ComputeConfig, OptimizerConfig, TrainConfig
from flaxae.training.devices import place
from flaxae.training.epoch import Trainer
from tests.conftest import synthetic_split


def trainer(steps_per_call, examples=44):
    config = TrainConfig(
        optimizer=OptimizerConfig(batch_size=4),
        compute=ComputeConfig(steps_per_call=steps_per_call),
    )
    images = synthetic_split(examples, 0).images
    placement = place(config, images.shape[1:])
    return Trainer(config, images, placement, jax.random.key(0))


@pytest.mark.parametrize(
    ("steps_per_call", "first_step", "sizes"),
    [
        (1, 0, [1] * 11),
        (4, 0, [4, 4, 3]),
        (11, 0, [11]),
        (99, 0, [11]),
        (4, 3, [1, 4, 3]),
        (4, 4, [4, 3]),
        (4, 10, [1]),
        (4, 11, []),
    ],
)
def test_calls_end_at_multiples_of_their_size(steps_per_call, first_step, sizes):
    calls = list(trainer(steps_per_call)._calls(epoch=1, first_step=first_step))
    assert [len(call.rows) for call in calls] == sizes
    assert all(call.images.shape[1:] == (4, 9, 7, 1) for call in calls)


def test_a_batch_is_never_larger_than_the_split():
    assert trainer(1, examples=3).batch_size == 3
    assert trainer(1, examples=3).steps_per_epoch == 1
