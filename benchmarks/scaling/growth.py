"""What the scaling benchmark varies and measures, and how each quantity should grow."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.common.memory import MIB

_FITTED = 3  # the largest points: at small sizes a constant share flattens a slope


class Point(NamedTuple):
    """One place in a sweep; the fields are the names of the sweeps."""

    images: int  # in the training split
    side: int  # pixels; images are square and gray
    batch: int  # images in a step

    def title(self) -> str:
        return f"{self.images:,} images of {self.side} x {self.side}, batch {self.batch}"


class Plan(NamedTuple):
    """The values of what is varied, and the fixed values of the others."""

    default: Point
    values: dict[str, tuple[int, ...]]  # by the name of the sweep
    filters: tuple[int, ...]  # of the model

    def points(self, sweep: str) -> list[Point]:
        return [self.default._replace(**{sweep: value}) for value in self.values[sweep]]

    def all_points(self, sweeps: Sequence[str]) -> list[Point]:
        """Each point of the sweeps once; those with the same dataset follow each other."""
        return sorted({point for sweep in sweeps for point in self.points(sweep)})


_IMAGES = (5_000, 20_000, 100_000, 300_000, 1_000_000)
_SIDES, _BATCHES = (28, 64, 128, 256), (16, 64, 256, 1024, 4096)
_TINY = {"images": (256, 1024), "side": (8, 16), "batch": (32, 64)}
_FULL = {"images": _IMAGES, "side": _SIDES, "batch": _BATCHES}
FULL = Plan(Point(images=5_000, side=28, batch=256), _FULL, filters=(16, 8, 8))
SMOKE = Plan(Point(images=256, side=8, batch=32), _TINY, filters=(4,))


class Quantity(NamedTuple):
    """Something measured, and the expected powers of what is varied with which it grows."""

    key: str
    name: str
    unit: str
    per_unit: float  # the unit in seconds or bytes
    expected: dict[str, float | None]  # by sweep; None: no single power; absent: not shown there


_AS_STEP: dict[str, float | None] = {"images": 0, "side": 2, "batch": 1}
# Of the steps' memory: micro-batches bound it, and shrink with the side down to a minimum.
_MICRO: dict[str, float | None] = {"images": 0, "side": None, "batch": 0}
TIMES = (
    Quantity("epoch_seconds", "epoch, derived", "s", 1, {"images": 1, "side": 2, "batch": 0}),
    Quantity("compile_seconds", "compilation", "s", 1, {"images": 0, "side": 0, "batch": 0}),
    Quantity("step_seconds", "step", "ms", 1e-3, _AS_STEP),
    Quantity("pick_seconds", "picking a batch", "ms", 1e-3, _AS_STEP),
    Quantity("shuffle_seconds", "shuffling", "ms", 1e-3, {"images": 1}),
    Quantity("open_seconds", "mapping the images", "ms", 1e-3, {"images": 0}),
)
MEMORY = (
    Quantity("peak_bytes", "peak", "MiB", MIB, {"images": None, "side": None, "batch": None}),
    Quantity("step_bytes", "memory of the steps", "MiB", MIB, _AS_STEP),
    Quantity("mapped_bytes", "mapped images", "MiB", MIB, {"images": 1, "side": 2, "batch": 0}),
    Quantity("order_bytes", "order of an epoch", "MiB", MIB, {"images": 1}),
)
QUANTITIES = (*TIMES, *MEMORY)


class Row(NamedTuple):
    """The measurements at a point, in seconds and bytes; medians where there are samples."""

    point: Point
    steps_per_epoch: int
    micro_batch: int | None  # images that a device takes at once; None: its whole share
    values: dict[str, float | None]  # by the quantity's key; None: the system does not report it
    samples: dict[str, list[float]]


def median_seconds(samples: Mapping[str, Sequence[float]], steps: int) -> dict[str, float]:
    """Medians of the samples, and the time of an epoch of so many steps."""
    medians = {key: statistics.median(each) for key, each in samples.items()}
    # Derived, because an epoch of a million images would take minutes.
    epoch = medians["shuffle_seconds"] + steps * medians["step_seconds"]
    return {**medians, "epoch_seconds": epoch}


class Slope(NamedTuple):
    """The power of what is varied with which a quantity grows."""

    sweep: str
    quantity: str
    measured: float | None  # None: fewer than two positive values
    expected: float | None


def curve(rows: Sequence[Row], sweep: str, quantity: Quantity) -> list[tuple[int, float]]:
    """Pairs of what is varied and what is measured, without values that have no logarithm."""
    pairs = [(getattr(row.point, sweep), row.values.get(quantity.key)) for row in rows]
    return [(size, value) for size, value in pairs if value is not None and value > 0]


def slopes_of(sweeps: Mapping[str, Sequence[Row]]) -> list[Slope]:
    """The slope of every quantity in every sweep that shows it."""
    slopes = []
    for (sweep, rows), quantity in itertools.product(sweeps.items(), QUANTITIES):
        divided = any(row.micro_batch is not None for row in rows)
        expected = _MICRO if divided and quantity.key == "step_bytes" else quantity.expected
        if sweep in expected:
            measured = fit_slope(curve(rows, sweep, quantity))
            slopes.append(Slope(sweep, quantity.key, measured, expected[sweep]))
    return slopes


def fit_slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Least squares of log y on log x over the last three points; None with fewer than two."""
    if len(points) < 2:
        return None
    return statistics.linear_regression(*np.log(points[-_FITTED:]).T.tolist()).slope
