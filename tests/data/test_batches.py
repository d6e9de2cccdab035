import numpy as np
import pytest

from flaxae.data.batches import (
    Share,
    epoch_order,
    evaluation_batches,
    padded,
    pick_batch,
    training_batches,
    training_rows,
)
from flaxae.data.splits import Split


def numbered(count, with_targets=False):
    """Image n is n; its target is 100 + n."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return Split(images, targets=100 + images if with_targets else None)


def test_order_is_a_function_of_seed_and_epoch():
    orders = [tuple(epoch_order(seed, epoch, 20)) for seed in range(2) for epoch in range(2)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert tuple(epoch_order(1, 1, 20)) == orders[3]


def test_training_batches_are_full_and_disjoint():
    batches = list(training_batches(numbered(11), 4, seed=0, epoch=3))
    rows = np.concatenate([batch.rows for batch in batches])
    assert len(rows) == len(set(rows)) == 8
    assert all(batch.mask.all() for batch in batches)
    assert all(batch.targets is None for batch in batches)
    np.testing.assert_array_equal(np.concatenate([b.images for b in batches]).ravel(), rows)


def test_training_rows_are_those_of_the_batches():
    batches = training_batches(numbered(11), 4, seed=0, epoch=3)
    rows = training_rows(11, 4, seed=0, epoch=3)
    for batch, (row, mask) in zip(batches, rows, strict=True):
        np.testing.assert_array_equal(batch.rows, row)
        np.testing.assert_array_equal(batch.mask, mask)


def test_an_epoch_continues_where_it_stopped():
    whole = list(training_batches(numbered(11), 3, 0, 1))
    rest = list(training_batches(numbered(11), 3, 0, 1, first_step=1))
    np.testing.assert_array_equal([b.rows for b in rest], [b.rows for b in whole[1:]])


def test_evaluation_visits_every_image_once_and_masks_padding():
    batches = list(evaluation_batches(numbered(10), 4))
    assert [list(b.mask) for b in batches] == [[True] * 4, [True] * 4, [True, True, False, False]]
    assert all(b.images.shape == (4, 1, 1, 1) for b in batches)
    assert all(b.targets is None for b in batches)
    seen = np.concatenate([b.images[b.mask] for b in batches]).ravel()
    np.testing.assert_array_equal(seen, range(10))


def test_targets_stay_with_their_images():
    split = numbered(10, with_targets=True)
    batches = [*training_batches(split, 3, 0, 1), *evaluation_batches(split, 4)]
    assert len(batches) == 3 + 3
    for batch in (*batches, pick_batch(split, 5)):
        assert batch.targets is not None
        assert batch.targets.shape == batch.images.shape
        np.testing.assert_array_equal(batch.targets[batch.mask], 100 + batch.images[batch.mask])


@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (2, 2), (2, 8), (3, 3)])
def test_the_shares_of_all_processes_are_every_batch(processes, devices):
    """In the order of one process; what fills up is masked, and each device gets equally many."""
    split = numbered(11, with_targets=True)
    shares = [Share(process, processes, devices) for process in range(processes)]
    for batches in (
        lambda share: list(training_batches(split, 5, 0, 1, share=share)),
        lambda share: list(evaluation_batches(split, 5, share)),
    ):
        parts = list(zip(*map(batches, shares), strict=True))
        for whole, divided in zip(batches(Share()), parts, strict=True):
            rows = np.concatenate([part.rows[part.mask] for part in divided])
            np.testing.assert_array_equal(rows, whole.rows[whole.mask])
            for part in divided:
                assert processes == 1 or len(part.mask) % (devices // processes) == 0
                images = part.images[part.mask].ravel()
                np.testing.assert_array_equal(images, part.rows[part.mask])
                np.testing.assert_array_equal(part.targets[part.mask].ravel(), 100 + images)
        assert len({len(part.mask) for divided in parts for part in divided}) == 1


def test_a_picked_batch_has_every_class():
    split = numbered(6)._replace(labels=np.array([1, 1, 0, 1, 2, 0], np.int32))
    assert list(pick_batch(split, 5).rows) == [2, 0, 4, 5, 1]
    np.testing.assert_array_equal(pick_batch(split, 5).images.ravel(), [2, 0, 4, 5, 1])
    everything = pick_batch(split, 99)
    assert len(everything.rows) == len(everything.mask) == 6
    assert everything.mask.all()


def test_padding_adds_zeros_at_the_end():
    array = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(padded(array, 4), [[1] * 3, [1] * 3, [0] * 3, [0] * 3])
    assert padded(array, 2) is array
