"""Sprite image and configs of the embedding projector (https://projector.tensorflow.org)."""

import json
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flaxae.data.store.images import StoredImages
from flaxae.report.figures import scaled_down

VECTORS = "vectors.tsv"
METADATA = "metadata.tsv"
SPRITE = "sprite.png"
PBTXT = "projector_config.pbtxt"  # the name that TensorBoard requires
JSON = "projector_config.json"

_LARGEST_SIDE = 8192  # pixels; the projector rejects larger sprites
MOST_POINTS = 100_000  # that TensorBoard requests from its server

Pictures = UInt8[np.ndarray, "points height width channels"] | StoredImages


class Sprite(NamedTuple):
    """A grid of thumbnails, square because the projector's shader assumes it."""

    side: int  # rows, and thumbnails per row
    width: int  # of a thumbnail, in pixels
    height: int


class Tensor(NamedTuple):
    """The contents of a projector config: an embedding and its sprite."""

    name: str
    points: int
    dimensions: int
    sprite: Sprite


def sprite_layout(points: int, height: int, width: int) -> Sprite:
    """Returns the smallest grid for `points` thumbnails of images of `height` x `width` pixels.

    The thumbnails are as large as the images, or scaled down to fit the largest sprite.

    Raises:
        ValueError: there are too many points even for thumbnails of one pixel.
    """
    side = math.isqrt(points - 1) + 1
    if side > _LARGEST_SIDE:
        raise ValueError(f"{points} thumbnails do not fit; at most {_LARGEST_SIDE**2} do")
    longest = max(height, width)
    limit = min(longest, _LARGEST_SIDE // side)
    return Sprite(side, max(1, width * limit // longest), max(1, height * limit // longest))


def draw_sprite(images: Pictures, sprite: Sprite) -> Image.Image:
    """Draws the thumbnails row by row, in grayscale or RGB; unused cells are black.

    Images without exactly 3 channels are drawn as the mean of their channels. There is no alpha
    channel, because the projector discards transparent pixels.
    """
    channels = 3 if images.shape[-1] == 3 else 1
    side, width, height = sprite
    pixels = np.zeros((side, height, side, width, channels), np.uint8)
    for row in range(-(-len(images) // side)):
        thumbnails = scaled_down(images[row * side : (row + 1) * side], height, width)
        pixels[row, :, : len(thumbnails)] = thumbnails.transpose(1, 0, 2, 3)
    shape = (side * height, side * width, 3)[: 3 if channels == 3 else 2]
    return Image.fromarray(pixels.reshape(shape))


def tensor_name(*parts: str) -> str:
    """Joins the parts to a name of characters that TensorBoard need not escape in a URL."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts), flags=re.ASCII)


def config_pbtxt(tensor: Tensor, folder: str = "") -> str:
    """Returns TensorBoard's config in protobuf's text format.

    `folder` is the folder of the exported files relative to the config.
    """
    quoted = {name: _quote(Path(folder) / name) for name in (VECTORS, METADATA, SPRITE)}
    return f"""\
embeddings {{
  tensor_name: "{tensor.name}"
  tensor_shape: {tensor.points}
  tensor_shape: {tensor.dimensions}
  tensor_path: {quoted[VECTORS]}
  metadata_path: {quoted[METADATA]}
  sprite {{
    image_path: {quoted[SPRITE]}
    single_image_dim: {tensor.sprite.width}
    single_image_dim: {tensor.sprite.height}
  }}
}}
"""


def config_json(tensor: Tensor) -> str:
    """Returns the config of the standalone projector page, as JSON."""
    embedding = {
        "tensorName": tensor.name,
        "tensorShape": [tensor.points, tensor.dimensions],
        "tensorPath": VECTORS,
        "metadataPath": METADATA,
        "sprite": {
            "imagePath": SPRITE,
            "singleImageDim": [tensor.sprite.width, tensor.sprite.height],
        },
    }
    return json.dumps({"embeddings": [embedding]}, indent=2) + "\n"


def _quote(path: Path) -> str:
    """Quotes a path for protobuf's text format, with octal escapes for bytes beyond ASCII."""
    plain = set(range(32, 127)) - set(b'"\\')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in os.fsencode(path)) + '"'
