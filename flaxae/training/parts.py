"""Sums over a batch in parts: micro-batches one after another, shards on several devices.

Both functions turn `(state, batch, keys) -> sums` into a function of the same form and value.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Key

from flaxae.data.batches import Batch

AXIS = "data"  # of the mesh of devices that share a batch


class Keys(NamedTuple):
    """Single-use keys of one step."""

    noise: Key[Array, ""]  # the same in every part, because what is drawn depends on the row
    dropout: Key[Array, ""]  # another in every part, for layers that know no rows, such as flax's


BatchSums = Callable[[Any, Batch, Keys], Any]


def in_micro_batches(sums: BatchSums, size: int) -> BatchSums:
    """Computes the sums over at most `size` examples at a time and adds them.

    The arrays of a small part stay in a CPU's cache. Those of a whole batch are allocated and
    returned to the system in every step, which costs more than the arithmetic.
    """

    def added(state: Any, batch: Batch, keys: Keys) -> Any:
        parts = -(-len(batch.mask) // size)
        if parts == 1:
            return sums(state, batch, keys)
        pieces = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), padded(batch, parts))

        def part(number: Array, piece: Batch) -> Any:
            key = jax.random.fold_in(keys.dropout, number)
            return sums(state, piece, keys._replace(dropout=key))

        def add(total: Any, numbered: tuple[Array, Batch]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, part(*numbered)), None

        numbered = (jnp.arange(parts), pieces)
        first = jax.eval_shape(lambda: part(*jax.tree.map(lambda x: x[0], numbered)))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
        return lax.scan(add, zeros, numbered)[0]

    return added


def across_devices(sums: BatchSums, mesh: Mesh) -> BatchSums:
    """Computes the sums over one shard of the batch on each device of `mesh` and adds them.

    On a CPU with one virtual device for each core, this uses all cores. With several GPUs it is
    data parallelism.
    """

    def on_device(state: Any, batch: Batch, keys: Keys) -> Any:
        key = jax.random.fold_in(keys.dropout, lax.axis_index(AXIS))
        # As one vector, because every sum across devices makes all of them wait.
        vector, restore = ravel_pytree(sums(state, batch, keys._replace(dropout=key)))
        return restore(lax.psum(vector, AXIS))

    replicated, sharded = PartitionSpec(), PartitionSpec(AXIS)
    sharded_sums = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(replicated, sharded, replicated),
        out_specs=replicated,
        check_vma=False,  # the hand-written gradients of the CPU's convolutions have no such types
    )
    return lambda state, batch, keys: sharded_sums(state, padded(batch, mesh.size), keys)


def padded(batch: Batch, parts: int) -> Batch:
    """The batch with masked zeros at its end, so that it has `parts` parts of equal size."""
    missing = -len(batch.mask) % parts
    if missing == 0:
        return batch
    return jax.tree.map(lambda x: jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)), batch)
