"""Masks of defects: for each image at most one file, paired by name."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from flaxae.data import DataConfig
from flaxae.data.decoding import BadImage, Decoding, decode
from flaxae.data.file_names import counted, printable, some
from flaxae.data.sources.listing import list_images
from flaxae.data.splits import Shape
from flaxae.errors import InputError

_SUFFIX = re.compile(r"_mask$")  # as MVTec's ground_truth has it: 000.png and 000_mask.png


def read_masks(
    folder: str, files: Sequence[str] | None, config: DataConfig, shape: Shape
) -> Bool[np.ndarray, "images height width"]:
    """Where the images of these files have defects; an image without a mask has none.

    A mask has the path of its image without suffix, or the name alone if all names differ, and may
    end in "_mask". It is resized as the images are. A pixel is a defect above half of the mask's
    largest value, so that masks of 0 and 1 serve as well as those of 0 and 255, also in 16 bits.

    Raises:
        InputError: the images have no files, a mask has no image, cannot be read, or is nearly
            black in 16-bit color.
    """
    if files is None:
        raise InputError("--masks are paired by file name, and these images are no files")
    listing = list_images(Path(folder))
    rows = _rows(files, listing.files, folder)
    height, width, _ = shape
    how = Decoding(
        image_size=(height, width),
        channels=1,
        fit=config.fit,
        background=(0, 0, 0),
        own_range=True,
    )
    masks = np.zeros((len(files), height, width), bool)
    for row, name in zip(rows, listing.files, strict=True):
        path = Path(os.path.join(listing.root, name))
        try:
            decoded = decode(path, how)
        except BadImage as error:
            raise InputError(f"the mask {printable(path)} cannot be read: {error}") from error
        if "dark" in decoded.notes:  # of colors, only the high byte is known
            raise InputError(
                f"the mask {printable(path)} has 16-bit color or alpha, nowhere brighter than 4095 "
                "of 65535; save it in gray without alpha"
            )
        pixels = decoded.pixels[..., 0]
        masks[row] = pixels > pixels.max() / 2
    return masks


def _rows(files: Sequence[str], masks: Sequence[str], folder: str) -> list[int]:
    """The row of the image of each mask."""
    stems = [os.path.splitext(file)[0] for file in files]
    wanted = [_SUFFIX.sub("", os.path.splitext(mask)[0]) for mask in masks]
    names = [[path.rpartition("/")[2] for path in paths] for paths in (stems, wanted)]
    if all(len(set(each)) == len(each) for each in names):
        stems, wanted = names
    row_of = {stem: row for row, stem in enumerate(stems)}
    alone = [mask for mask, stem in zip(masks, wanted, strict=True) if stem not in row_of]
    if alone:
        raise InputError(
            f"{counted(len(alone), 'mask')} of {printable(folder)} without an image ({some(alone)})"
            "; expected the path of an image, with or without _mask at its end"
        )
    if len(set(wanted)) < len(wanted) or len(row_of) < len(stems):
        raise InputError(
            f"{printable(folder)} or the images hold files that differ only in their suffix; "
            "expected one mask for an image"
        )
    return [row_of[stem] for stem in wanted]
