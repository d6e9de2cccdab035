"""Truncated and damaged files, random bytes, threads, and open files."""

import os
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxae.data.decoding import BadImage, Decoding, decode, probe
from tests.data.decoding.expected import COLOUR, FIXTURES, LIGHT, RGB
from tests.fixtures.fuzzing import damaged, fuzzed
from tests.fixtures.image_bytes import PNG_START, chunk, exif, jpeg_with, png, tiff


def valid_files():
    """A small file of each format, and the pixels that it decodes to."""
    files = {path.name: path.read_bytes() for path in FIXTURES.glob("*.*") if path.suffix != ".md"}
    files["colour.png"] = png(RGB, 8, 2, chunk(b"eXIf", exif(1)))
    files["gray16.png"] = png(LIGHT.astype(np.uint16) * 257, 16, 0)
    files["turned.jpg"] = jpeg_with(files["colour.jpg"], exif(6))
    tags = [(256, 4), (257, 3), (258, 8), (259, 1), (262, 1), (277, 1), (278, 3), (279, 12)]
    files["gray.tif"] = tiff([*tags, (273, "data")], LIGHT.tobytes())
    return files


FILES = valid_files()


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused_or_whole(file, name):
    whole = decode(file(FILES[name]), COLOUR).pixels
    outcomes = []
    for length in range(0, len(FILES[name]), 8):
        path = file(FILES[name][:length])
        try:
            np.testing.assert_array_equal(decode(path, COLOUR).pixels, whole)
            outcomes.append("whole")
        except BadImage:
            outcomes.append("refused")
    assert "refused" in outcomes[: len(outcomes) // 2 + 1]


def outcome(data, how):
    """Decodes; only BadImage may be raised, and no file may stay open."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Path(folder, "file")
        path.write_bytes(data)
        reasons = []
        for read in (lambda: decode(path, how).pixels, lambda: probe(path, 10**5)):
            try:
                read()
            except BadImage as error:
                reasons.append(str(error))
    assert all(len(reason.splitlines()) == 1 for reason in reasons)


HOWS = st.builds(
    Decoding,
    image_size=st.sampled_from([None, (2, 3)]),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    value_range=st.sampled_from([None, (0.0, 100.0)]),
    own_range=st.booleans(),
    most_pixels=st.just(10**5),
)
STARTS = [
    b"",
    PNG_START,
    b"\xff\xd8\xff\xe0",
    b"RIFF\x30\0\0\0WEBPVP8X",
    b"BM",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
]


@fuzzed(200)
@given(st.sampled_from(STARTS), st.binary(max_size=200), HOWS)
def test_random_bytes_raise_nothing_else(start, rest, how):
    outcome(start + rest, how)


@fuzzed(300)
@given(st.sampled_from(sorted(FILES)), st.data(), st.integers(1, 255), HOWS)
def test_a_changed_byte_raises_nothing_else(name, data, change, how):
    content = bytearray(FILES[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= change
    outcome(bytes(content), how)


@fuzzed(200)
@given(damaged([FILES[name] for name in sorted(FILES)]), HOWS)
def test_damaged_files_raise_nothing_else(content, how):
    outcome(content, how)


def test_threads_decode_the_same(file, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(large, 8, 2))
    paths = [tmp_path / "a.png", *(FIXTURES / name for name in FILES if (FIXTURES / name).exists())]
    how = COLOUR._replace(image_size=(20, 20))
    alone = [decode(path, how).pixels for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda path: decode(path, how).pixels, paths * 20))
    for index, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[index % len(paths)])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_files_are_closed(file):
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for name, data in FILES.items():
        for content in (data, data[: len(data) // 2]):
            try:
                kept.append(decode(file(content), COLOUR))
            except BadImage as error:
                kept.append((name, error))
    assert len(os.listdir("/proc/self/fd")) == before
