"""Which file is the target of which image: for denoising with real noise."""

import os
from collections import Counter
from collections.abc import Sequence

from flaxae.data.file_names import counted, printable, some
from flaxae.data.sources.listing import Listing
from flaxae.errors import InputError


def pair_targets(listing: Listing, targets: Listing) -> tuple[str, ...]:
    """The target file of each image, in the order of `listing.files`.

    Paths are compared without their suffix: the target of noisy/a.jpg can be clean/a.png. If the
    file names are unique in both folders, the sub-folders are not compared.

    Raises:
        InputError: an image has no target or several, or a target has no image.
    """
    names = [_name(file) for file in listing.files], [_name(file) for file in targets.files]
    if not all(len(set(each)) == len(each) for each in names):
        names = [_stem(file) for file in listing.files], [_stem(file) for file in targets.files]
        _refuse_ambiguous(names[0], listing)
        _refuse_ambiguous(names[1], targets)
    target_of = dict(zip(names[1], targets.files, strict=True))
    image_of = dict(zip(names[0], listing.files, strict=True))
    images_alone = [image_of[name] for name in image_of.keys() - target_of.keys()]
    targets_alone = [target_of[name] for name in target_of.keys() - image_of.keys()]
    if images_alone or targets_alone:
        raise InputError(
            f"{_alone(images_alone, 'image')} without a target, {_alone(targets_alone, 'target')} "
            f"without an image in {printable(targets.root)}; expected one target for each "
            "image, of the same path without suffix"
        )
    return tuple(target_of[name] for name in names[0])


def _stem(file: str) -> str:
    return os.path.splitext(file)[0]


def _name(file: str) -> str:
    return _stem(file).rpartition("/")[2]


def _alone(files: Sequence[str], noun: str) -> str:
    return counted(len(files), noun) + (f" ({some(files)})" if files else "")


def _refuse_ambiguous(stems: Sequence[str], listing: Listing) -> None:
    counts = Counter(stems)
    several = [f for f, stem in zip(listing.files, stems, strict=True) if counts[stem] > 1]
    if several:
        raise InputError(
            f"{printable(listing.root)} holds {counted(len(several), 'file')} that differ "
            f"only in their suffix, such as {some(several)}; expected one file for each pair: "
            "remove or rename the others"
        )
