"""The picture of most files here, and what decoding must give."""

from pathlib import Path

import numpy as np

from flaxae.data.decoding import Decoding, decode, probe

FIXTURES = Path(__file__).parents[2] / "fixtures" / "images"
GRAY, COLOUR = Decoding(channels=1), Decoding(channels=3)
Y, X = np.mgrid[:3, :4]
RGB = np.stack([60 * X + 20, 70 * Y + 30, 200 - 30 * X - 20 * Y], -1).astype(np.uint8)
LIGHT = (60 * X + 10 * Y).astype(np.uint8)[..., None]


def upright(stored, orientation):
    """What the values of EXIF mean."""
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: np.swapaxes(stored, 0, 1),
        6: np.rot90(stored, -1),
        7: np.swapaxes(stored[::-1, ::-1], 0, 1),
        8: np.rot90(stored, 1),
    }[orientation]


def over(samples, alpha, background=(0, 0, 0)):
    """Composited as real numbers."""
    part = np.asarray(alpha, float)[..., None] / 255
    return samples * part + np.array(background) * (1 - part)


def same(path, expected, how=COLOUR, tolerance=0, natural=None, notes=()):
    """The decoded pixels are `expected`, and the header says the same size."""
    decoded = decode(path, how)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == np.shape(expected)
    assert decoded.pixels.flags.writeable
    np.testing.assert_allclose(decoded.pixels.astype(float), expected, rtol=0, atol=tolerance)
    assert decoded.notes == set(notes)
    assert probe(path, 10**6)[:2] == np.shape(expected)[:2]
    if natural is not None:
        assert probe(path, 10**6)[2] == natural
