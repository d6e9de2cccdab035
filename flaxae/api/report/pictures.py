"""The pictures of a page: as many, and as large, as there is room for."""

from typing import TYPE_CHECKING

import numpy as np

from flaxae.data.splits import Split
from flaxae.evaluation.inspection import reconstructions
from flaxae.evaluation.plane import Plane
from flaxae.evaluation.representation import sample_rows
from flaxae.report.figures import scaled_down
from flaxae.report.page.points import PictureSet, extremes, tile_grid
from flaxae.report.page.sheets import encode, plan

if TYPE_CHECKING:
    from flaxae.api.run import Run

BATCH = 64  # images at least
_SAMPLED = 256  # pictures by which the size of all is estimated
# What a page of some points may take: 5 MB for 10,000 and 18 MB for 70,000.
_BYTES, _BYTES_PER_POINT = 2_800_000, 217
_FIXED, _FIXED_PER_POINT = 500_000, 48  # of it beside the pictures, estimated from above
_FEWEST_RECONSTRUCTIONS = 10_000


def make_pictures(
    run: "Run", part: Split, errors: np.ndarray, thumbnails: int, batch_size: int
) -> list[PictureSet]:
    """Thumbnails and reconstructions, as large and as many as there is room for."""
    count = len(errors)
    rows = _chosen(errors, thumbnails)
    if not len(rows):
        return []
    first = rows[:: max(len(rows) // _SAMPLED, 1)][:_SAMPLED]
    step, state = run.programs.inspect, run.programs.state

    def originals(rows: np.ndarray, height: int, width: int, targets: bool = False) -> np.ndarray:
        source = part.targets if targets else part.images
        assert source is not None, "asked for only if there are targets"
        pieces = []
        for start in range(0, len(rows), batch_size):
            piece = np.asarray(source[rows[start : start + batch_size]])
            piece = piece if piece.dtype == np.uint8 else np.round(piece * 255).astype(np.uint8)
            pieces.append(scaled_down(piece, height, width))
        return np.concatenate(pieces)

    def drawn(rows: np.ndarray, height: int, width: int) -> np.ndarray:
        batches = reconstructions(step, state, part, rows, batch_size)
        return np.concatenate([scaled_down(batch, height, width) for batch in batches])

    shape = part.image_shape[:2]
    most = _BYTES + _BYTES_PER_POINT * count - _without_pictures(part)
    copies = 1 if part.targets is None else 2
    least = min(len(rows), _FEWEST_RECONSTRUCTIONS)
    planned = plan(originals(first, *shape), drawn(first, *shape), len(rows), least, most, copies)
    width, height = planned.width, planned.height
    some = _chosen(errors, planned.reconstructions, among=rows)
    sets = [("thumbnails", originals(rows, height, width), rows)]
    sets.append(("reconstructions", drawn(some, height, width), some))
    if part.targets is not None:
        sets.append(("targets", originals(some, height, width, targets=True), some))
    return [
        PictureSet(kind, width, height, encode(pictures), chosen) for kind, pictures, chosen in sets
    ]


def make_tiles(run: "Run", plane: Plane, height: int, width: int) -> tuple[PictureSet, dict]:
    """What the decoder makes of a grid of embeddings of two numbers, and where they lie."""
    grid, place = tile_grid(plane.points)
    drawn = np.round(run.decode(grid) * 255).astype(np.uint8)
    tiles = scaled_down(drawn, height, width)
    return PictureSet("tiles", width, height, encode(tiles), None), place


def _without_pictures(part: Split) -> int:
    """Bytes of the page beside its pictures, estimated from above."""
    names = sum(map(len, part.files)) // 2 if part.files is not None else 0
    return _FIXED + _FIXED_PER_POINT * len(part.images) + names


def _chosen(errors: np.ndarray, most: int, among: np.ndarray | None = None) -> np.ndarray:
    """At most so many rows: those with extreme errors, then a random sample; sorted."""
    rows = np.arange(len(errors)) if among is None else among
    if len(rows) <= most:
        return rows
    worst, best = extremes(errors)
    first = [row for pair in zip(worst, best, strict=True) for row in pair]
    first = list(dict.fromkeys(first))[:most]
    rest = np.setdiff1d(rows, first)
    return np.sort([*first, *rest[sample_rows(len(rest), most - len(first))]]).astype(np.int64)
