"""What the store is told of images before they are decoded, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8, UInt64

from flaxae.data.store.images import ImageFile

Images = UInt8[np.ndarray, "examples height width channels"]
Rows = Int64[np.ndarray, " examples"]


class Chunk(NamedTuple):
    """Decoded images of some rows, in order."""

    images: Images
    targets: Images | None = None
    labels: Int32[np.ndarray, " examples"] | None = None
    bad: Mapping[int, str] = MappingProxyType({})  # place in the chunk -> why it has no image
    notes: Mapping[str, int] = MappingProxyType({})  # what was done -> to how many images


class Plan(NamedTuple):
    """Images to be decoded.

    `fingerprint` changes whenever a decoded row could. `identities` has a number for each row, made
    of what decides its pixels, so that rows of an older entry can be taken over; None: nothing can.
    `decode` gives chunks that cover the rows that it is asked for, in their order.
    """

    name: str  # of the entry's folder
    source: str  # where the images come from, for people
    fingerprint: str
    rows: int
    image_shape: tuple[int, int, int]
    decode: Callable[[Rows], Iterator[Chunk]]
    identities: UInt64[np.ndarray, " examples"] | None = None
    has_targets: bool = False
    # Where the pixels lie already, as an array of this shape from a byte on; they are not copied.
    in_place: tuple[Path, int] | None = None
    facts: Mapping[str, Any] = MappingProxyType({})  # kept with the entry, as JSON


class Entry(NamedTuple):
    """A dataset in the store."""

    folder: Path
    images: ImageFile
    targets: ImageFile | None
    labels: Int32[np.ndarray, " examples"]  # 0 where the source gave none
    hashes: UInt64[np.ndarray, " examples"]  # of each image's pixels
    target_hashes: UInt64[np.ndarray, " examples"]  # 0 without targets
    good: np.ndarray  # bool: the row has an image
    bad: Mapping[int, str]  # row -> why it has none
    notes: Mapping[str, int]
    facts: Mapping[str, Any]
    fresh: bool  # decoded by this call
