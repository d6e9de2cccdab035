"""Synthetic defects: scratches and stains, with the mask of their pixels."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from scipy.ndimage import gaussian_filter
from skimage.draw import line

KINDS = ("scratch", "stain")


class Defective(NamedTuple):
    """An image with a defect, and where it is."""

    image: UInt8[np.ndarray, "side side"]
    mask: Bool[np.ndarray, "side side"]


def add_defect(
    image: UInt8[np.ndarray, "side side"], kind: str, rng: np.random.Generator
) -> Defective:
    """The image with a defect at a random place, wholly inside."""
    mask, change = (scratch if kind == "scratch" else stain)(len(image), rng)
    changed = np.clip(image + change, 0, 255).round().astype(np.uint8)
    return Defective(changed, mask)


def scratch(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A straight light or dark line, two pixels wide and a quarter to a half of the side long."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(side / 4, side / 2)
    reach = length / 2 * np.array([np.sin(angle), np.cos(angle)])
    center = rng.uniform(np.abs(reach) + 1, side - np.abs(reach) - 3)
    ends = np.concatenate([center - reach, center + reach]).round().astype(int)
    rows, columns = line(*ends)
    mask = np.zeros((side, side), bool)
    for down, right in ((0, 0), (0, 1), (1, 0)):
        mask[rows + down, columns + right] = True
    return mask, np.where(mask, _sign(rng) * rng.uniform(50, 100), 0.0)


def stain(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A soft light or dark spot of irregular shape, an eighth to a quarter of the side wide."""
    radius = rng.uniform(side / 16, side / 8)
    y, x = rng.uniform(1.5 * radius, side - 1.5 * radius, 2)
    rows, columns = np.indices((side, side))
    bumps = gaussian_filter(rng.normal(size=(side, side)), radius / 3)
    distance = np.hypot(rows - y, columns - x) / radius + bumps / bumps.std() * 0.15
    depth = np.clip((1.1 - distance) * 4, 0, 1)
    return depth > 0.5, _sign(rng) * rng.uniform(40, 80) * depth


def _sign(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0
