"""Which arrays can be images, and how their numbers become bytes."""

import math

import numpy as np
from jaxtyping import Shaped, UInt8

from flaxae.data.file_names import printable
from flaxae.errors import InputError


def pixels_of(
    chunk: Shaped[np.ndarray, "..."], value_range: tuple[float, float] | None, what: str
) -> UInt8[np.ndarray, "examples height width channels"]:
    """Images [N, H, W] or [N, H, W, C] of any type as bytes [N, H, W, C]; C is 1 or 3.

    Bytes stay as they are, and False and True become 0 and 255. Other numbers are mapped linearly
    and clipped with `value_range`, black and white. Without it, of uint16 the high byte is taken,
    other whole numbers must be in 0..255, and floats in 0..1 are rounded to 8 bits.

    Raises:
        InputError: another shape or type, or values out of range; the message says what came.
    """
    require_image_shape(chunk.shape, what)
    require_numbers(chunk.dtype, what)
    chunk = chunk[..., None] if chunk.ndim == 3 else chunk
    if chunk.dtype == bool:
        return (chunk.view(np.uint8) != 0) * np.uint8(255)  # a damaged file may hold other bytes
    if chunk.dtype == np.uint8:
        return chunk
    if value_range is not None:
        return _mapped(chunk, value_range, what)
    if chunk.dtype == np.uint16:
        return (chunk >> 8).astype(np.uint8)
    most = 1 if chunk.dtype.kind == "f" else 255
    low, high = (chunk.min(), chunk.max()) if chunk.size else (0, 0)
    if not (low >= 0 and high <= most):  # also refuses NaN
        raise InputError(
            f"{what} is {chunk.dtype} in {low}..{high}; expected 0..{most}, or train with "
            "--range, the values of black and white"
        )
    if chunk.dtype.kind != "f":
        return chunk.astype(np.uint8)
    return np.round(chunk.astype(np.float32) * 255).astype(np.uint8)  # as data/images.py


def _mapped(chunk: np.ndarray, value_range: tuple[float, float], what: str) -> np.ndarray:
    low, high = map(float, value_range)
    if not 0 < high - low < math.inf:
        raise InputError(f"--range got {low} {high}; expected black below white")
    values = chunk.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{what} is {chunk.dtype} with NaN or infinity; expected numbers")
    return np.round((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)


def require_numbers(dtype: np.dtype, what: str) -> None:
    """Raises InputError unless arrays of this type hold numbers."""
    if dtype.hasobject:
        raise InputError(
            f"{what} holds Python objects, which could run code; expected an array of numbers"
        )
    if dtype.kind not in "buif":
        raise InputError(f"{what} is {printable(dtype)}; expected numbers")


def require_image_shape(shape: tuple[int, ...], what: str) -> None:
    """Raises InputError unless the shape is [N, H, W] or [N, H, W, C] with 1 or 3 channels."""
    came = f"{what} has the shape {bracketed(shape)}"
    if len(shape) not in (3, 4):
        raise InputError(f"{came}; expected [N, H, W] or [N, H, W, C]: reshape it")
    if 0 in shape[1:]:
        raise InputError(f"{came}; expected images with pixels")
    if len(shape) == 3:
        if shape[2] in (3, 4):
            raise InputError(
                f"{came}, like one image in color; expected [N, H, W, C]: save x[None], or "
                "x[..., None] if these are gray images so narrow"
            )
        return
    channels = shape[3]
    if channels in (2, 4):
        raise InputError(
            f"{came}: {channels} channels, the last for transparency; expected 1 or 3: save "
            f"x[..., :{channels - 1}]"
        )
    if channels not in (1, 3):
        advice = "save x.transpose(0, 2, 3, 1)" if shape[1] in (1, 2, 3, 4) else "channels last"
        raise InputError(f"{came}; expected [N, H, W, C] with 1 or 3 channels: {advice}")


def bracketed(shape: tuple[int, ...]) -> str:
    """The shape as messages show it: [7, 4, 5]."""
    return f"[{', '.join(map(str, shape))}]"
