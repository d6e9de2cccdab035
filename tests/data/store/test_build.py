import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flaxae.data.pixel_hash import pixel_hashes
from flaxae.data.store import build as building
from flaxae.data.store.build import PARTIAL, build
from flaxae.data.store.files import find
from flaxae.data.store.images import StoredImages
from flaxae.data.store.plan import Chunk, Plan
from flaxae.errors import InputError, RunError

SHAPE = (5, 4, 3)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, *SHAPE), np.uint8)
TARGETS = 255 - IMAGES
IDENTITIES = np.arange(50, dtype=np.uint64)


def plan(images=IMAGES, fingerprint="one", size=7, asked=None, **changes):
    """A plan of arrays in memory; `asked` records the rows that it was asked for."""

    def decode(rows):
        if asked is not None:
            asked.extend(rows.tolist())
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            targets = TARGETS[part] if changes.get("has_targets") else None
            yield Chunk(images[part], targets, part.astype(np.int32) % 3)

    values = {
        "name": "toys",
        "source": "toys",
        "fingerprint": fingerprint,
        "rows": len(images),
        "image_shape": SHAPE,
        "decode": decode,
        **changes,
    }
    return Plan(**values)


def everything(file):
    return np.asarray(StoredImages(file, np.arange(file.shape[0])))


def test_an_entry_holds_what_was_decoded(tmp_path):
    done = []
    entry = build(tmp_path, plan(has_targets=True, facts={"a": [1]}), lambda *now: done.append(now))
    np.testing.assert_array_equal(everything(entry.images), IMAGES)
    np.testing.assert_array_equal(everything(entry.targets), TARGETS)
    np.testing.assert_array_equal(entry.labels, np.arange(50) % 3)
    np.testing.assert_array_equal(entry.hashes, pixel_hashes(IMAGES))
    assert entry.good.all()
    assert entry.fresh
    assert entry.facts == {"a": [1]}
    assert done[-1] == (50, 50)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toys", "toys.lock"]


def test_it_is_decoded_once(tmp_path):
    build(tmp_path, plan())
    asked = []
    again = build(tmp_path, plan(asked=asked))
    assert not asked
    assert not again.fresh
    assert find(tmp_path, "toys", "another") is None


def test_rows_without_an_image_are_named(tmp_path):
    def decode(rows):
        yield Chunk(IMAGES[rows], bad={3: "torn"}, notes={"pages": 2})

    entry = build(tmp_path, plan(decode=decode))
    assert entry.bad == {3: "torn"}
    assert np.flatnonzero(~entry.good).tolist() == [3]
    assert entry.notes == {"pages": 2}


class Killed(Exception):
    pass


def interrupted(images=IMAGES, after=3, **changes):
    whole = plan(images, **changes)

    def decode(rows):
        for number, chunk in enumerate(whole.decode(rows)):
            if number == after:
                raise Killed
            yield chunk

    return whole._replace(decode=decode)


def test_an_interrupted_build_goes_on(tmp_path):
    with pytest.raises(Killed):
        build(tmp_path, interrupted(has_targets=True))
    asked = []
    entry = build(tmp_path, plan(asked=asked, has_targets=True))
    assert asked == list(range(21, 50))
    np.testing.assert_array_equal(everything(entry.images), IMAGES)
    np.testing.assert_array_equal(everything(entry.targets), TARGETS)


def test_an_interrupted_build_of_other_images_is_begun_anew(tmp_path):
    with pytest.raises(Killed):
        build(tmp_path, interrupted(fingerprint="old"))
    asked = []
    build(tmp_path, plan(asked=asked))
    assert asked == list(range(50))


@pytest.mark.parametrize("has_targets", [False, True])
def test_an_interrupted_build_serves_the_folder_that_has_changed_since(tmp_path, has_targets):
    options = {"has_targets": has_targets}
    with pytest.raises(Killed):
        build(tmp_path, interrupted(fingerprint="old", identities=IDENTITIES, **options))
    identities = IDENTITIES.copy()
    identities[3] = 999
    with pytest.raises(Killed):  # a second kill loses nothing either
        build(tmp_path, interrupted(identities=identities, **options))
    asked = []
    entry = build(tmp_path, plan(asked=asked, identities=identities, **options))
    assert not set(asked) & (set(range(21)) - {3})
    np.testing.assert_array_equal(everything(entry.images), IMAGES)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["toys", "toys.lock"]


def test_pixels_that_never_reached_the_disk_are_decoded_again(tmp_path):
    with pytest.raises(Killed):
        build(tmp_path, interrupted())
    with open(tmp_path / f"toys{PARTIAL}" / "images.u8", "r+b") as file:
        file.seek(2 * 60)
        file.write(bytes(60))  # as after a power cut
    asked = []
    entry = build(tmp_path, plan(asked=asked))
    assert asked == [2, *range(21, 50)]
    np.testing.assert_array_equal(everything(entry.images), IMAGES)


def build_slowly(root):
    whole = plan(size=5)

    def decode(rows):
        for chunk in whole.decode(rows):
            yield chunk
            time.sleep(0.05)

    build(Path(root), whole._replace(decode=decode))


@contextlib.contextmanager
def in_child(root):
    """Another process that builds, from the moment that it does; it is ended at the end."""
    code = "import sys; from tests.data.store.test_build import build_slowly as f; f(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", code, str(root)]) as child:
        while not building.is_locked(root / f"toys{PARTIAL}"):
            assert child.poll() is None
            time.sleep(0.01)
        yield child


def test_a_kill_at_any_moment_loses_nothing(tmp_path):
    for delay in (0.01, 0.1, 0.2):
        with in_child(tmp_path) as child:
            time.sleep(delay)
            child.kill()
    np.testing.assert_array_equal(everything(build(tmp_path, plan()).images), IMAGES)


def test_of_a_changed_folder_only_what_changed_is_decoded(tmp_path):
    build(tmp_path, plan(identities=IDENTITIES, has_targets=True))
    order = np.array([7, 8, 9, 49, 3, 20])
    new = np.concatenate([IMAGES[order], IMAGES[:2]])
    changed = np.concatenate([IDENTITIES[order], [100, 101]]).astype(np.uint64)
    asked = []
    entry = build(tmp_path, plan(new, "two", asked=asked, identities=changed, has_targets=True))
    assert asked == [6, 7]
    np.testing.assert_array_equal(everything(entry.images), new)
    np.testing.assert_array_equal(everything(entry.targets)[:6], TARGETS[order])


def test_an_array_in_place_is_not_copied(tmp_path):
    path = tmp_path / "scans.npy"
    np.save(path, IMAGES)
    entry = build(tmp_path / "store", plan(in_place=(path, path.stat().st_size - IMAGES.nbytes)))
    np.testing.assert_array_equal(everything(entry.images), IMAGES)
    assert not (entry.folder / "images.u8").exists()
    assert StoredImages(entry.images, np.arange(3)).folder == tmp_path / "store" / "toys"


def test_a_flipped_byte_is_found_when_it_is_first_read(tmp_path):
    entry = build(tmp_path, plan())
    path = entry.folder / "images.u8"
    content = bytearray(path.read_bytes())
    content[1234] ^= 1
    path.write_bytes(content)
    images = StoredImages(find(tmp_path, "toys", "one").images, np.arange(50))
    with pytest.raises(RunError, match=r"u8 is damaged near image 0.*next start decodes"):
        images[np.array([30])]
    again = build(tmp_path, plan())
    np.testing.assert_array_equal(everything(again.images), IMAGES)


def test_damaged_rows_are_not_copied_into_a_new_entry(tmp_path):
    identities = np.arange(50, dtype=np.uint64)
    path = build(tmp_path, plan(identities=identities)).folder / "images.u8"
    path.write_bytes(bytes(len(path.read_bytes())))
    entry = build(tmp_path, plan(fingerprint="two", identities=identities))
    np.testing.assert_array_equal(everything(entry.images), IMAGES)


def test_a_remark_that_was_cut_short_is_skipped(tmp_path):
    with pytest.raises(Killed):
        build(tmp_path, interrupted())
    (tmp_path / f"toys{PARTIAL}" / "remarks.jsonl").write_text('{"bad": {"1')
    np.testing.assert_array_equal(everything(build(tmp_path, plan()).images), IMAGES)


@pytest.mark.parametrize("name", ["rows.npy", "description.json", "images.u8.crc.npy", "images.u8"])
@pytest.mark.parametrize("damage", ["emptied", "truncated", "removed"])
def test_a_damaged_file_makes_the_entry_be_decoded_again(tmp_path, name, damage):
    entry = build(tmp_path, plan())
    path = entry.folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    asked = []
    again = build(tmp_path, plan(asked=asked))
    assert asked
    np.testing.assert_array_equal(everything(again.images), IMAGES)


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(building.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"toys needs \d\.\d kB in the store .* has 1\.0 kB left"):
        build(tmp_path, plan())
    assert not (tmp_path / "toys.partial").exists()


def test_a_store_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\).*--store-dir"):
        build(tmp_path / "file" / "store", plan())


def test_another_process_is_waited_for(tmp_path):
    asked = []
    with in_child(tmp_path):
        time.sleep(0.15)
        entry = build(tmp_path, plan(asked=asked))
    assert not asked
    np.testing.assert_array_equal(everything(entry.images), IMAGES)


def test_the_description_is_json(tmp_path):
    entry = build(tmp_path, plan())
    description = json.loads((entry.folder / "description.json").read_text())
    assert description["source"] == "toys"
    assert description["shape"] == [50, *SHAPE]
