"""Reads batches ahead of the step, by threads."""

from collections.abc import Callable, Iterator
from typing import Any

_THREADS = 4  # they wait for the disk most of the time
_AHEAD = 8  # batches


def read_ahead(count: int, make: Callable[[int], Any]) -> Iterator[Any]:
    """`make(0)`, `make(1)`, ... up to `count`, in order, made ahead by threads of grain."""
    import grain  # half a second, which small datasets do without

    elements = grain.MapDataset.range(count).map(make)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
    return iter(elements.to_iter_dataset(options))
