"""Every byte of an entry counts: what is damaged is decoded again, or refused in one line."""

import os
from pathlib import Path

import numpy as np
import pytest

from flaxae.data.store import files
from flaxae.data.store.build import PARTIAL, build
from flaxae.data.store.entries import kept
from flaxae.data.store.files import find
from flaxae.data.store.images import StoredImages
from flaxae.data.store.plan import Chunk, Plan
from flaxae.errors import RunError

SHAPE = (5, 4, 1)
RNG = np.random.default_rng(0)
IMAGES, TARGETS = RNG.integers(0, 256, (2, 30, *SHAPE), np.uint8)
FILES = ("description.json", "rows.npy", "images.u8.crc.npy", "targets.u8.crc.npy")


def plan(images=IMAGES, targets=TARGETS, stop=None, name="toys"):
    def decode(rows):
        for first in range(0, len(rows), 7):
            if first == stop:
                raise KeyboardInterrupt
            part = rows[first : first + 7]
            yield Chunk(images[part], targets[part], part.astype(np.int32) % 3)

    facts = {"sizes": {"train": 20, "test": 10}, "class_names": ["a", "b", "c"]}
    return Plan(name, name, "one", 30, SHAPE, decode, has_targets=True, facts=facts)


def contents(entry):
    rows = np.arange(30)
    images, targets = (np.asarray(StoredImages(f, rows)) for f in (entry.images, entry.targets))
    numbers = (images, targets, entry.labels, entry.hashes, entry.target_hashes, entry.good)
    return [part.tobytes() for part in numbers], entry.facts, entry.bad, entry.notes


def put(path, content):
    """As another file, because the old one may be mapped."""
    path.unlink()
    path.write_bytes(content)


@pytest.fixture
def entry(tmp_path):
    return build(tmp_path, plan())


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_found(tmp_path, entry, name):
    whole, path = contents(entry), entry.folder / name
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        put(path, changed)
        found = find(tmp_path, "toys", "one")
        # Blanks and escapes of JSON can be written in another way.
        assert found is None or contents(found) == whole, place
    put(path, b"\x80" + content)
    assert contents(build(tmp_path, plan())) == whole


@pytest.mark.parametrize("name", ["images.u8", "targets.u8"])
def test_any_flipped_bit_of_the_pixels_is_refused_then_decoded_again(tmp_path, entry, name):
    whole, path = contents(entry), entry.folder / name
    content = bytearray(path.read_bytes())
    content[123] ^= 4
    put(path, content)
    found = find(tmp_path, "toys", "one")
    assert found is not None
    with pytest.raises(RunError, match="is damaged near image 0"):
        contents(found)
    assert contents(build(tmp_path, plan())) == whole


@pytest.mark.parametrize("names", [("images.u8",), ("images.u8", "images.u8.crc.npy"), FILES[1:]])
def test_files_of_other_images_are_no_substitute(tmp_path, entry, names):
    whole = contents(entry)
    other = build(tmp_path, plan(IMAGES[::-1], TARGETS[::-1], name="other"))
    for name in names:
        put(entry.folder / name, (other.folder / name).read_bytes())
    try:
        assert contents(build(tmp_path, plan())) == whole
    except RunError:
        assert contents(build(tmp_path, plan())) == whole


@pytest.mark.parametrize("name", [*FILES, "images.u8", "targets.u8"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "huge", "a zip", "nested"])
def test_what_is_no_file_of_an_entry_is_replaced(tmp_path, entry, name, kind):
    whole, path = contents(entry), entry.folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    if kind == "huge":
        with open(path, "wb") as file:
            file.truncate(100 * 10**9)
    if kind == "a zip":
        with open(path, "wb") as file:
            np.savez(file, a=np.zeros(3))
    if kind == "nested":
        path.write_text("[" * 100_000)
    assert [each.name for each in kept(tmp_path)] == ["toys"]
    try:
        assert contents(build(tmp_path, plan())) == whole
    except RunError:  # found when it is read
        assert contents(build(tmp_path, plan())) == whole


@pytest.mark.parametrize("field", ["label", "state", "hash", "target_hash", "identity", "check"])
def test_a_damaged_record_of_an_interrupted_build_is_decoded_again(tmp_path, field):
    whole = contents(build(tmp_path / "whole", plan()))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, plan(stop=21))
    path = tmp_path / f"toys{PARTIAL}" / "rows.npy"
    records = np.load(path)
    records[field][5] ^= 2
    put(path, b"")
    np.save(path, records)
    assert contents(build(tmp_path, plan())) == whole


def test_records_differ_in_their_checks():
    records = np.zeros(1, files.RECORD)
    seen = {int(files.record_checks(records)[0])}
    for name in ("hash", "target_hash", "identity", "label", "state"):
        for bit in range(records[name].dtype.itemsize * 8):
            changed = records.copy()
            changed.view(np.uint8)[files.RECORD.fields[name][1] + bit // 8] ^= 1 << bit % 8
            seen.add(int(files.record_checks(changed)[0]))
    assert len(seen) == 1 + 3 * 64 + 32 + 8


def test_the_list_names_a_damaged_entry(tmp_path, entry):
    path: Path = entry.folder / "description.json"
    put(path, path.read_bytes().replace(b"toys", b"t\\ny"))
    assert [each.state for each in kept(tmp_path)] == ["damaged"]
