"""Draws photographs of a part, some with a defect: `python -m benchmarks.anomaly.parts FOLDER`.

good/ has 1,200 good parts to train on, new/ has 1,000 of which 30 have a defect, ten of each kind,
and masks/ has the mask of each of these. The part is a plate with four holes, which lies turned and
moved a little, under light of varying brightness, with noise of the camera.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks.anomaly.defects import scratch, stain

SIDE = 64
KINDS = ("scratch", "stain", "closed hole")
GOOD, NEW, DEFECTIVE = 1200, 1000, 30
_HOLES = np.array([(-13, -13), (-13, 13), (13, -13), (13, 13)])  # from the center, in pixels
_PLATE, _RADIUS, _TABLE, _METAL = 22, 4.5, 40.0, 150.0


class Part(NamedTuple):
    """A picture of a part, and where its defect is."""

    image: UInt8[np.ndarray, "side side"]
    mask: Bool[np.ndarray, "side side"]


def draw_part(kind: str | None, rng: np.random.Generator) -> Part:
    """A part; `kind` is one of KINDS, or None for a good one."""
    turn, move = np.deg2rad(rng.uniform(-4, 4)), rng.uniform(-1.5, 1.5, 2)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grid = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    y, x = np.einsum("ij,jhw->ihw", matrix, grid - move[:, None, None])
    inside = _soft(_PLATE - np.maximum(abs(y), abs(x)))
    holes = [_soft(_RADIUS - np.hypot(y - a, x - b)) for a, b in _HOLES]
    mask = np.zeros((SIDE, SIDE), bool)
    if kind == "closed hole":
        mask = holes.pop(rng.integers(len(holes))) > 0.5
    metal = np.clip(inside - np.sum(holes, axis=0), 0, 1)
    picture = _TABLE + (_METAL - _TABLE) * metal
    if kind in ("scratch", "stain"):
        mask, change = _on_the_plate(scratch if kind == "scratch" else stain, inside, rng)
        picture += 0.7 * change
    slope = rng.uniform(-0.15, 0.15, 2) / SIDE
    light = rng.uniform(0.9, 1.1) + slope[0] * grid[0] + slope[1] * grid[1]
    picture = gaussian_filter(picture * light, 0.5) + rng.normal(scale=3, size=picture.shape)
    return Part(np.clip(picture, 0, 255).round().astype(np.uint8), mask)


def write_parts(folder: Path, good: int, new: int, defective: int, seed: int = 0) -> list[str]:
    """Writes good/, new/ and masks/; returns the kind of each new part, "" for good ones."""
    rng = np.random.default_rng(seed)
    for name in ("good", "new", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for row in range(good):
        _save(folder / "good" / f"part_{row:04}.png", draw_part(None, rng).image)
    kinds = [KINDS[row % len(KINDS)] for row in range(defective)] + [""] * (new - defective)
    kinds = [kinds[row] for row in rng.permutation(new)]
    for row, kind in enumerate(kinds):
        image, mask = draw_part(kind or None, rng)
        _save(folder / "new" / f"part_{row:04}.png", image)
        if kind:
            _save(folder / "masks" / f"part_{row:04}.png", mask.astype(np.uint8) * 255)
    return kinds


def _on_the_plate(draw, inside, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A defect that lies on the plate."""
    while True:
        mask, change = draw(SIDE, rng)
        if inside[mask].min() > 0.5:
            return mask, change


def _soft(distance: np.ndarray) -> np.ndarray:
    """1 inside, 0 outside, and between at the edge."""
    return np.clip(distance + 0.5, 0, 1)


def _save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the folders, and the kinds of defects as kinds.csv."""
    parser = argparse.ArgumentParser("benchmarks.anomaly.parts", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    kinds = write_parts(folder, GOOD, NEW, DEFECTIVE)
    lines = [f"part_{row:04}.png,{kind}" for row, kind in enumerate(kinds) if kind]
    (folder / "kinds.csv").write_text("\n".join(["file,kind", *lines]) + "\n")


if __name__ == "__main__":
    main()
