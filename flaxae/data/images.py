"""Checks of image arrays that a user gives."""

from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from flaxae.data.file_names import printable
from flaxae.errors import InputError

Pixels = (
    UInt8[np.ndarray, "examples height width channels"]
    | (Float32[np.ndarray, "examples height width channels"])
)


def check_images(images: Any, what: str, shape: tuple[int, ...] | None = None) -> Pixels:
    """The images as [N, H, W, C], uint8 as they came or floats in 0..1 as float32.

    `what` names them in messages; `shape` is the (height, width, channels) that they must have.

    Raises:
        InputError: another shape, type or range; the message says what came.
    """
    array = as_array(images, what)
    if array.ndim not in (3, 4):
        raise InputError(
            f"{what} has the shape {array.shape}; expected [N, H, W] or [N, H, W, C], "
            "also for one image (images[None])"
        )
    array = array[..., None] if array.ndim == 3 else array
    if 0 in array.shape[1:]:
        raise InputError(f"{what} has the shape {array.shape}; expected images with pixels")
    if shape is not None and array.shape[1:] != tuple(shape):
        raise InputError(
            f"{what} has images of {'x'.join(map(str, array.shape[1:]))}; this run has "
            f"{'x'.join(map(str, shape))} (height, width, channels)"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        span = (
            f" in {array.min()}..{array.max()}" if array.dtype.kind in "iu" and array.size else ""
        )
        raise InputError(f"{what} is {array.dtype}{span}; expected uint8, or floats in 0..1")
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if not (low >= 0 and high <= 1):  # also refuses NaN
        raise InputError(f"{what} is {array.dtype} in {low}..{high}; expected floats in 0..1")
    return array.astype(np.float32)


def as_array(values: Any, what: str) -> np.ndarray:
    """`numpy.asarray`; bfloat16, which NumPy does not know, becomes float32.

    Raises:
        InputError: the values make no array; the message says why.
    """
    if isinstance(values, str | PathLike):
        raise InputError(
            f"{what} is the path {printable(values)}; expected an array: only images=... may be "
            "the path of a folder or file"
        )
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{what} is no array ({reason}); expected one of equal rows") from error
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def to_bytes(
    images: Any, what: str, shape: tuple[int, ...] | None = None
) -> UInt8[np.ndarray, "examples height width channels"]:
    """`check_images`, with floats rounded to 8 bits."""
    array = check_images(images, what, shape)
    return array if array.dtype == np.uint8 else np.round(array * 255).astype(np.uint8)
