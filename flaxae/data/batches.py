"""Batches of a split: the order of an epoch is a function of (seed, epoch)."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int32, Shaped

from flaxae.data.read_ahead import read_ahead
from flaxae.data.splits import Split, pick_examples
from flaxae.data.store.images import StoredImages

AnyArray = np.ndarray | jax.Array  # on the host, or on the device


_READ_AHEAD_BYTES = 2**28  # below, gathering takes less time than handing over to a thread


class Batch(NamedTuple):
    """Images of one step and their rows in the split; `mask` is False for padding."""

    images: Shaped[AnyArray, "batch height width channels"]
    rows: Int32[AnyArray, " batch"]
    mask: Bool[AnyArray, " batch"]
    targets: Shaped[AnyArray, "batch height width channels"] | None = None  # None: the images


class Rows(NamedTuple):
    """A batch whose images are on the device already, as rows of all of them."""

    rows: Int32[AnyArray, " batch"]
    mask: Bool[AnyArray, " batch"]


class Share(NamedTuple):
    """The part of every batch that this process computes; of one process, the whole."""

    process: int = 0
    processes: int = 1
    devices: int = 1  # of all processes together; each gets equally many examples

    def of(self, batch: Rows) -> Rows:
        """This process's rows; masked ones fill up a batch that does not divide."""
        if self.processes == 1:
            return batch
        missing = -len(batch.mask) % self.devices
        rows, mask = (np.pad(np.asarray(array), (0, missing)) for array in batch)
        size = len(mask) // self.processes
        inside = slice(self.process * size, (self.process + 1) * size)
        return Rows(rows[inside], mask[inside])


WHOLE = Share()


def epoch_order(seed: int, epoch: int, examples: int) -> Int32[np.ndarray, " examples"]:
    """The order in which an epoch visits the examples: a function of its arguments only."""
    order = np.arange(examples, dtype=np.int32)
    np.random.default_rng((seed, epoch)).shuffle(order)
    return order


def training_batches(
    split: Split,
    batch_size: int,
    seed: int,
    epoch: int,
    first_step: int = 0,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """`training_rows` with their images and targets.

    The images of a large file are read ahead of the step, by threads.
    """
    steps = list(training_rows(len(split.images), batch_size, seed, epoch, first_step, share))

    def gather(step: int) -> Batch:
        rows = np.asarray(steps[step].rows)
        targets = None if split.targets is None else split.targets[rows]
        return Batch(split.gather(rows), rows, steps[step].mask, targets)

    if isinstance(split.images, StoredImages) and split.images.nbytes > _READ_AHEAD_BYTES:
        return read_ahead(len(steps), gather)
    return map(gather, range(len(steps)))


def training_rows(
    examples: int,
    batch_size: int,
    seed: int,
    epoch: int,
    first_step: int = 0,
    share: Share = WHOLE,
) -> Iterator[Rows]:
    """Full batches of one epoch, from its step `first_step` on.

    The examples that do not fill a batch are left out; every epoch leaves out others.
    """
    order = epoch_order(seed, epoch, examples)
    mask = np.ones(batch_size, bool)
    for step in range(first_step, examples // batch_size):
        yield share.of(Rows(order[step * batch_size : (step + 1) * batch_size], mask))


def evaluation_batches(split: Split, batch_size: int, share: Share = WHOLE) -> Iterator[Batch]:
    """All images in order; the last batch is padded with zeros, which the mask excludes."""
    for number in range(batch_count(split, batch_size)):
        if share.processes > 1:
            rows = _rows_of(number, batch_size)
            yield _masked_batch(split, share.of(Rows(rows, rows < len(split.images))))
        else:
            yield evaluation_batch(split, batch_size, number)


def evaluation_batch(split: Split, batch_size: int, number: int) -> Batch:
    """One of `evaluation_batches`, counted from 0."""
    count, rows = len(split.images), _rows_of(number, batch_size)
    inside = slice(number * batch_size, min((number + 1) * batch_size, count))
    targets = None if split.targets is None else padded(split.targets[inside], batch_size)
    return Batch(padded(split.images[inside], batch_size), rows, rows < count, targets)


def batch_count(split: Split, batch_size: int) -> int:
    """The number of `evaluation_batches`."""
    return -(-len(split.images) // batch_size)


def _rows_of(number: int, batch_size: int) -> Int32[np.ndarray, " batch"]:
    return np.arange(number * batch_size, (number + 1) * batch_size, dtype=np.int32)


def _masked_batch(split: Split, part: Rows) -> Batch:
    """These rows; any image fills the place of one that the mask excludes."""
    rows, mask = np.asarray(part.rows), np.asarray(part.mask)
    inside = np.where(mask, rows, 0)
    targets = None if split.targets is None else split.targets[inside]
    return Batch(split.gather(inside), rows, mask, targets)


def pick_batch(split: Split, count: int) -> Batch:
    """At most `count` examples to draw, equally many of each class as far as possible."""
    rows = np.array(pick_examples(split.labels, min(count, len(split.images))), np.int32)
    targets = None if split.targets is None else split.targets[rows]
    return Batch(split.gather(rows), rows, np.ones(len(rows), bool), targets)


def padded(array: np.ndarray, length: int) -> np.ndarray:
    """The array with zeros at its end, so that its first axis has `length`."""
    missing = length - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array
