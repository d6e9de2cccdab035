"""What the scaling benchmark varies, what it measures there, and how each should grow."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_FITTED = 3  # points, the largest: below them what costs the same at any size flattens a slope


class Point(NamedTuple):
    """One place in a sweep; the fields are the names of the sweeps."""

    images: int  # in the training split
    side: int  # pixels; images are square and gray
    batch: int  # images in a step


class Plan(NamedTuple):
    """Every value of what is varied, and what the others are meanwhile."""

    default: Point
    values: dict[str, tuple[int, ...]]  # by the name of the sweep
    filters: tuple[int, ...]  # of the model


FULL = Plan(
    Point(images=5_000, side=28, batch=256),
    {
        "images": (5_000, 20_000, 100_000, 300_000, 1_000_000),
        "side": (28, 64, 128, 256),
        "batch": (16, 64, 256, 1024, 4096),
    },
    filters=(16, 8, 8),
)
SMOKE = Plan(
    Point(images=256, side=8, batch=32),
    {"images": (256, 1024), "side": (8, 16), "batch": (32, 64)},
    filters=(4,),
)


class Quantity(NamedTuple):
    """Something measured, and the powers of what is varied with which it should grow."""

    key: str
    name: str
    unit: str
    per_unit: float  # the unit in seconds or bytes
    expected: dict[str, float | None]  # by sweep; None: no single power; absent: not shown there


_MIB = 2.0**20
TIMES = (
    Quantity("epoch_seconds", "epoch, derived", "s", 1, {"images": 1, "side": 2, "batch": 0}),
    Quantity("compile_seconds", "compilation", "s", 1, {"images": 0, "side": 0, "batch": 0}),
    Quantity("step_seconds", "step", "ms", 1e-3, {"images": 0, "side": 2, "batch": 1}),
    Quantity("pick_seconds", "picking a batch", "ms", 1e-3, {"images": 0, "side": 2, "batch": 1}),
    Quantity("shuffle_seconds", "shuffling", "ms", 1e-3, {"images": 1}),
    Quantity("open_seconds", "opening the data", "ms", 1e-3, {"images": 0}),
)
MEMORY = (
    Quantity("peak_bytes", "peak", "MiB", _MIB, {"images": None, "side": None, "batch": None}),
    Quantity("step_bytes", "the steps' own", "MiB", _MIB, {"images": 0, "side": 2, "batch": 1}),
    Quantity("mapped_bytes", "mapped images", "MiB", _MIB, {"images": 1, "side": 2, "batch": 0}),
    Quantity("order_bytes", "order of an epoch", "MiB", _MIB, {"images": 1}),
)
QUANTITIES = (*TIMES, *MEMORY)


class Row(NamedTuple):
    """What was measured at a point; seconds and bytes, medians where there are samples."""

    point: Point
    steps_per_epoch: int
    micro_batch: int | None  # images that a device takes at once; None: its whole share
    values: dict[str, float | None]  # by the key of the quantity; None: the system does not tell
    samples: dict[str, list[float]]


class Slope(NamedTuple):
    """The power of what is varied with which a quantity grows."""

    sweep: str
    quantity: str
    measured: float | None  # None: it was not measured often enough, or is not above 0
    expected: float | None


def points_of(plan: Plan, sweep: str) -> list[Point]:
    """The points of a sweep, from small to large."""
    return [plan.default._replace(**{sweep: value}) for value in plan.values[sweep]]


def rows_of(rows: Mapping[Point, Row], plan: Plan, sweep: str) -> list[Row]:
    """The rows of a sweep, from small to large, without those that could not be measured."""
    return [rows[point] for point in points_of(plan, sweep) if point in rows]


def curve(rows: Sequence[Row], sweep: str, quantity: Quantity) -> list[tuple[int, float]]:
    """What was varied and what was measured, where a logarithm exists."""
    pairs = [(getattr(row.point, sweep), row.values.get(quantity.key)) for row in rows]
    return [(size, value) for size, value in pairs if value is not None and value > 0]


def slope_of(rows: Sequence[Row], sweep: str, quantity: Quantity) -> Slope:
    """A quantity's slope on log axes over the largest points, and the one that is expected."""
    measured = fit_slope(curve(rows, sweep, quantity))
    return Slope(sweep, quantity.key, measured, expected_slope(rows, sweep, quantity))


def expected_slope(rows: Sequence[Row], sweep: str, quantity: Quantity) -> float | None:
    """The slope that a quantity should have; micro-batches bound a step's memory."""
    if quantity.key == "step_bytes" and any(row.micro_batch is not None for row in rows):
        # With the side they shrink, until they are as small as they get: no single power.
        return {"images": 0, "side": None, "batch": 0}[sweep]
    return quantity.expected[sweep]


def fit_slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Least squares of log y on log x over the last three points; None with fewer than two."""
    last = [(math.log(x), math.log(y)) for x, y in points[-_FITTED:]]
    if len({x for x, _ in last}) < 2:
        return None
    mean_x = sum(x for x, _ in last) / len(last)
    mean_y = sum(y for _, y in last) / len(last)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in last)
    return covariance / sum((x - mean_x) ** 2 for x, _ in last)
