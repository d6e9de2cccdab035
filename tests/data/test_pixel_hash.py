import hashlib

import numpy as np

from flaxae.data.pixel_hash import pixel_hashes, split_by_hash


def test_the_hash_is_that_of_the_bytes():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1), np.uint8)
    expected = [
        int.from_bytes(hashlib.blake2b(i.tobytes(), digest_size=8).digest(), "big") for i in images
    ]
    assert pixel_hashes(images).tolist() == expected
    assert pixel_hashes(images[::-1]).tolist() == expected[::-1]
    assert pixel_hashes(images[:0]).tolist() == []


def test_splits_are_80_10_10_and_the_edges_belong_to_the_later_split():
    hashes = np.random.default_rng(0).integers(0, 2**64, 20_000, np.uint64)
    shares = np.bincount(split_by_hash(hashes), minlength=3) / len(hashes)
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)
    edges = np.array([0, 0.79 * 2**64, 0.81 * 2**64, 0.91 * 2**64, 2**64 - 1], np.uint64)
    assert split_by_hash(edges).tolist() == [0, 0, 1, 2, 2]


def test_further_images_move_none():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100, np.uint64)
    np.testing.assert_array_equal(split_by_hash(hashes)[:50], split_by_hash(hashes[:50]))
