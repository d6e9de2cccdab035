"""The sprite and the two configs of the embedding projector (https://projector.tensorflow.org)."""

import json
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

VECTORS = "vectors.tsv"
METADATA = "metadata.tsv"
SPRITE = "sprite.png"
PBTXT = "projector_config.pbtxt"  # TensorBoard looks for this name
JSON = "projector_config.json"

_LARGEST_SIDE = 8192  # pixels of a sprite; the projector refuses more
MOST_POINTS = 100_000  # that TensorBoard asks of its server

Pictures = UInt8[np.ndarray, "points height width channels"]


class Sprite(NamedTuple):
    """A square grid of thumbnails: the projector's shader takes its rows to be its columns."""

    side: int  # thumbnails in a row, and rows
    width: int  # pixels of a thumbnail
    height: int


class Tensor(NamedTuple):
    """What a config says about the files beside it."""

    name: str
    points: int
    dimensions: int
    sprite: Sprite


def sprite_layout(points: int, height: int, width: int) -> Sprite:
    """The smallest grid for `points` thumbnails, as large as the images or as the limit allows.

    Raises:
        ValueError: not even thumbnails of one pixel fit.
    """
    side = math.isqrt(points - 1) + 1
    if side > _LARGEST_SIDE:
        raise ValueError(f"{points} thumbnails do not fit; at most {_LARGEST_SIDE**2} do")
    longest = max(height, width)
    limit = min(longest, _LARGEST_SIDE // side)
    return Sprite(side, max(1, width * limit // longest), max(1, height * limit // longest))


def draw_sprite(images: Pictures, sprite: Sprite) -> Image.Image:
    """The thumbnails row by row in their own brightness, blank cells black; gray or RGB.

    No alpha channel, because the projector discards what is transparent; channels that are not 3
    are shown as their mean.
    """
    channels = 3 if images.shape[-1] == 3 else 1
    side, width, height = sprite
    pixels = np.zeros((side, height, side, width, channels), np.uint8)
    for row in range(-(-len(images) // side)):
        thumbnails = _thumbnails(images[row * side : (row + 1) * side], sprite)
        pixels[row, :, : len(thumbnails)] = thumbnails.transpose(1, 0, 2, 3)
    shape = (side * height, side * width, 3)[: 3 if channels == 3 else 2]
    return Image.fromarray(pixels.reshape(shape))


def tensor_name(*parts: str) -> str:
    """Parts joined to a name that TensorBoard may put into an address without escaping it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts), flags=re.ASCII)


def config_pbtxt(tensor: Tensor, folder: str = "") -> str:
    """TensorBoard's config, in protobuf's text form; the files lie in `folder` below it."""
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
    """The standalone projector's config."""
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
    """A string of protobuf's text form, in ASCII: other bytes as octal escapes."""
    plain = set(range(32, 127)) - set(b'"\\')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in os.fsencode(path)) + '"'


def _thumbnails(images: Pictures, sprite: Sprite) -> UInt8[np.ndarray, "points _ _ _"]:
    if images.shape[-1] not in (1, 3):
        images = images.mean(-1, keepdims=True).round().astype(np.uint8)
    size = (sprite.width, sprite.height)
    if images.shape[1:3] == size[::-1]:
        return images
    # A box average: it neither inverts nor overshoots, so light strokes stay light.
    scaled = [Image.fromarray(i.squeeze(-1) if i.shape[-1] == 1 else i) for i in images]
    arrays = [np.asarray(picture.resize(size, Image.Resampling.BOX)) for picture in scaled]
    return np.stack(arrays).reshape(len(images), sprite.height, sprite.width, -1)
