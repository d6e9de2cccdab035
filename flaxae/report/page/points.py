"""What the page's script is told of the points, as JSON and blocks of base64."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32

from flaxae.evaluation.plane import Plane
from flaxae.report.page.columns import pack, pack_texts

EXTREMES = 32  # of the worst and the best
_STEPS = 65535  # of a coordinate
_MARGIN = 0.08  # of the plane, around all points, that is decoded too
TILES = 32  # in a row and in a column


class Measure(NamedTuple):
    """A number of every point, of which the page draws a histogram."""

    key: str
    name: str
    meaning: str
    values: Float32[np.ndarray, " points"]
    threshold: float | None = None  # above which a point is said to be unusual


class Points(NamedTuple):
    """What is known of every point of the map."""

    plane: Plane
    splits: Sequence[str]  # the name of each point's split
    neighbors: Int32[np.ndarray, "points neighbors"]
    measures: list[Measure]  # the first one is the reconstruction error
    labels: Int[np.ndarray, " points"] | None = None
    answers: Int[np.ndarray, " points"] | None = None  # class of the neighbors
    class_names: Sequence[str] = ()
    files: Sequence[str] | None = None


class Block(NamedTuple):
    """Base64 that the page keeps beside its JSON."""

    name: str
    content: str


class PictureSet(NamedTuple):
    """Sheets of pictures, and the points they are of; None: places in order."""

    kind: str
    width: int
    height: int
    sheets: list[str]
    rows: Int[np.ndarray, " pictures"] | None


def extremes(errors: Float32[np.ndarray, " points"]) -> tuple[list[int], list[int]]:
    """The points with the largest errors, the worst first, and with the smallest."""
    order = np.argsort(errors, kind="stable")
    return order[::-1][:EXTREMES].tolist(), order[:EXTREMES].tolist()


def points_data(
    points: Points, pictures: Sequence[PictureSet], tiles: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The JSON for the script."""
    names = list(dict.fromkeys(points.splits))
    numbers = {name: number for number, name in enumerate(names)}
    worst, best = extremes(points.measures[0].values)
    columns: dict[str, Any] = {
        "xy": pack(coordinates(points.plane.points)),
        "splits": pack(np.array([numbers[name] for name in points.splits], np.uint8)),
        "neighbors": pack(points.neighbors),
        "labels": None if points.labels is None else pack(points.labels.astype(np.int32)),
        "answers": None if points.answers is None else pack(points.answers.astype(np.int32)),
        "files": None if points.files is None else pack_texts(points.files),
    }
    for measure in points.measures:
        columns[measure.key] = pack(measure.values.astype(np.float32))
    return {
        "count": len(points.splits),
        "classes": list(points.class_names),
        "splits": names,
        "neighbors": points.neighbors.shape[1],
        "measures": [
            {"key": m.key, "name": m.name, "threshold": m.threshold} for m in points.measures
        ],
        "columns": columns,
        "worst": worst,
        "best": best,
        "pictures": {
            each.kind: {
                "width": each.width,
                "height": each.height,
                "rows": None if each.rows is None else pack(each.rows.astype(np.int32)),
            }
            for each in pictures
        },
        "tiles": tiles,
    }


def picture_blocks(pictures: Sequence[PictureSet]) -> list[Block]:
    """The sheets under the names by which the script asks for them."""
    return [
        Block(f"{each.kind}-{number}", sheet)
        for each in pictures
        for number, sheet in enumerate(each.sheets)
    ]


def coordinates(plane: Float32[np.ndarray, "points 2"]) -> np.ndarray:
    """Whole numbers 0..65535 [points, 2], both axes in one scale; the second axis points down."""
    low, span = _frame(plane)
    shares = (plane.astype(np.float64) - low) / span
    shares[:, 1] = 1 - shares[:, 1]
    return np.round(shares * _STEPS).astype(np.uint16)


def tile_grid(
    plane: Float32[np.ndarray, "points 2"],
) -> tuple[Float32[np.ndarray, "tiles 2"], dict[str, Any]]:
    """The embeddings of two numbers to decode, row by row from above, and where they lie.

    They cover the plane and a margin around it.
    """
    low, span = _frame(plane)
    shares = np.linspace(-_MARGIN, 1 + _MARGIN, TILES)
    x, y = np.meshgrid(shares, shares)
    grid = np.stack([low[0] + span * x.ravel(), low[1] + span * (1 - y.ravel())], axis=1)
    step = _STEPS * (shares[1] - shares[0])
    place = {"columns": TILES, "left": _STEPS * shares[0], "top": _STEPS * shares[0], "step": step}
    return grid.astype(np.float32), place


def _frame(plane: Float32[np.ndarray, "points 2"]) -> tuple[np.ndarray, float]:
    """The lower left corner of a square around all points, and its side."""
    low, high = (plane.astype(np.float64).min(axis=0), plane.astype(np.float64).max(axis=0))
    span = float((high - low).max()) or 1.0
    return (low + high) / 2 - span / 2, span
