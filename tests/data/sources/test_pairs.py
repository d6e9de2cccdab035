from pathlib import Path

import numpy as np
import pytest

from flaxae.data.sources.listing import Listing
from flaxae.data.sources.pairs import pair_targets
from flaxae.errors import InputError


def listing(root, *files):
    stats = np.zeros((len(files), 2), np.int64)
    return Listing(Path(root), Path(root), files, stats, None, (), None, ())


def pair(images, targets):
    return pair_targets(listing("noisy", *images), listing("clean", *targets))


def test_a_target_has_the_path_without_suffix():
    images = ("y/a.jpg", "x/b.tar.png", "x/a.jpg")
    assert pair(images, ("x/a.png", "x/b.tar.tif", "y/a.png")) == (
        "y/a.png",
        "x/b.tar.tif",
        "x/a.png",
    )


def test_unique_names_pair_across_folders():
    assert pair(("x/a.jpg", "x/b.jpg"), ("b.png", "deep/er/a.png")) == ("deep/er/a.png", "b.png")


def test_folders_count_if_a_name_is_twice_in_either():
    with pytest.raises(InputError, match=r"2 images \(a.png, b.png\) without a target, 2 targets"):
        pair(("a.png", "b.png"), ("x/a.png", "y/a.png"))


def test_what_has_no_partner_is_refused_with_counts_and_names():
    with pytest.raises(InputError) as caught:
        pair(tuple(f"{name}.png" for name in "edcba"), ("a.png", "f\n.png"))
    assert str(caught.value) == (
        r"4 images (b.png, c.png, d.png) without a target, 1 target (f\n.png) without an image in "
        "clean; expected one target for each image, of the same path without suffix"
    )


def test_a_missing_target_alone_is_refused():
    with pytest.raises(InputError, match=r"1 image \(b.png\) without a target, 0 targets without"):
        pair(("a.png", "b.png"), ("a.png",))


@pytest.mark.parametrize("side", [0, 1])
def test_names_that_differ_in_their_suffix_only_are_refused(side):
    files = [("x/a.jpg", "x/b.png"), ("x/a.jpg", "x/a.png", "x/b.png")]
    root = ("noisy", "clean")[1 - side]
    with pytest.raises(InputError, match=rf"^{root} holds 2 files .* such as x/a.jpg, x/a.png;"):
        pair(files[side], files[1 - side])


def test_a_missing_image_alone_is_refused():
    with pytest.raises(InputError, match=r"0 images without a target, 1 target \(b.png\) without"):
        pair(("a.png",), ("a.png", "b.png"))
