import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxae.errors import RunError
from flaxae.models.convolutional.config import ConvolutionalConfig
from flaxae.models.fully_connected.config import FullyConnectedConfig
from flaxae.models.options import ComputeConfig
from flaxae.objectives import ObjectiveConfig
from flaxae.training import DeviceConfig, OptimizerConfig
from flaxae.training.devices import place
from flaxae.training.epoch import EpochSums, Trainer, add_steps, even
from flaxae.training.state import create_train_state, make_optimizer
from flaxae.training.step import StepMetrics
from tests.fixtures.images import synthetic_split


def trainer(steps_per_call, split=None, model=None, data_on_device=False):
    split = split or synthetic_split(44, 0)
    device = DeviceConfig(steps_per_call=steps_per_call)
    placement = place(model or ConvolutionalConfig(), ComputeConfig(), device, split.image_shape)
    return Trainer(
        split,
        ObjectiveConfig(),
        placement,
        jax.random.key(0),
        seed=0,
        batch_size=4,
        data_on_device=data_on_device,
    )


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
    few = trainer(1, synthetic_split(3, 0))
    assert few.batch_size == 3
    assert few.steps_per_epoch == 1


@pytest.mark.parametrize("with_targets", [False, True])
def test_data_on_the_device_trains_the_same(with_targets):
    split = synthetic_split(9, 0)
    targets = np.ascontiguousarray(split.images[:, ::-1]) if with_targets else None
    split = split._replace(targets=targets)
    model = FullyConnectedConfig(hidden_units=(4,))
    module = model.build(ComputeConfig(), split.image_shape)

    def run(data_on_device):
        one = trainer(2, split, model, data_on_device)
        tx = make_optimizer(OptimizerConfig(schedule="constant", warmup=0.0), 2)
        state = create_train_state(module, tx, jax.random.key(0))
        one.compile(state, 0)
        state, sums = one.run_epoch(state, 1, EpochSums(), lambda call: False)
        assert sums.steps == 2
        return state.params, dict(sums.totals)

    jax.tree.map(np.testing.assert_array_equal, run(False), run(True))


def metrics(losses, grad_norms):
    values = {"loss": jnp.array(losses), "kl": 2 * jnp.array(losses)}
    return StepMetrics(values, jnp.array(grad_norms))


def test_means_are_over_the_steps_of_all_calls():
    sums = add_steps(EpochSums(), metrics([1.0, 2.0], [10.0, 20.0]), epoch=1)
    sums = add_steps(sums, metrics([6.0], [60.0]), epoch=1)
    assert sums.steps == 3
    assert sums.means() == {"loss": 3, "kl": 6, "grad_norm": 30}


@pytest.mark.parametrize(
    ("losses", "grad_norms", "message"),
    [
        ([1.0, np.nan], [1.0, 1.0], r"the loss in step 2 of epoch 5 became nan"),
        ([1.0, 1.0], [np.inf, 1.0], r"the gradient in step 1 of epoch 5 became inf"),
    ],
)
def test_a_number_that_is_not_finite_ends_training(losses, grad_norms, message):
    with pytest.raises(RunError, match=message):
        add_steps(EpochSums(), metrics(losses, grad_norms), epoch=5)


@pytest.mark.parametrize(
    ("steps", "most", "size"), [(225, 10, 9), (14, 10, 7), (7, 7, 7), (781, 10, 10), (5, 1, 1)]
)
def test_calls_of_one_size_where_it_is_near(steps, most, size):
    assert even(steps, most) == size


def test_a_given_number_of_steps_is_kept():
    twelve_steps = synthetic_split(48, 0)
    assert trainer(5, twelve_steps)._sizes(0) == [5, 5, 2]
    assert trainer(None, twelve_steps)._sizes(0) == [6, 6]
