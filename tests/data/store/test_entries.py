import logging
from pathlib import Path

import pytest

from flaxae.data import DataConfig
from flaxae.data.store import build as building
from flaxae.data.store.build import build
from flaxae.data.store.entries import build_shown, display, entry_name, kept, prune, store_root
from tests.data.store.test_build import Killed, interrupted, plan


def test_the_store_is_where_the_flag_then_the_variable_then_the_cache_says(monkeypatch, tmp_path):
    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "variable"))
    assert store_root(DataConfig(store_dir=str(tmp_path))) == tmp_path
    assert store_root(DataConfig()) == tmp_path / "variable"
    monkeypatch.delenv("FLAXAE_STORE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert store_root(DataConfig()) == tmp_path / "cache" / "flaxae" / "images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_root(DataConfig()) == tmp_path / ".cache" / "flaxae" / "images"


def test_names_are_readable_and_different():
    assert entry_name("my photos/é", "/a").startswith("my_photos_-")
    assert entry_name("x", "/a") != entry_name("x", "/b")
    assert entry_name("x", "a", "b") != entry_name("x", "ab")


@pytest.fixture
def three(tmp_path):
    """A complete entry, one whose source is gone, an interrupted one, and a stranger's folder."""
    root = tmp_path / "store"
    names = [entry_name(word, word) for word in ("complete", "gone", "torn")]
    build(root, plan(name=names[0], source=str(tmp_path)))
    build(root, plan(name=names[1], source=str(tmp_path / "absent")))
    with pytest.raises(Killed):
        build(root, interrupted(name=names[2]))
    (root / "stranger-202401011230").mkdir()  # a name like that of an entry
    (root / "stranger-202401011230" / "precious.txt").touch()
    return root, names


def test_the_list_tells_what_each_is(three):
    root, _ = three
    states = {entry.name.partition("-")[0]: entry.state for entry in kept(root)}
    assert states == {"complete": "complete", "gone": "source gone", "torn": "interrupted"}
    assert kept(root)[0].shape == (50, 5, 4, 3)
    assert kept(root)[0].size > 3000


def test_prune_deletes_what_nothing_needs_and_nothing_else(three):
    root, names = three
    assert [entry.name for entry in prune(root, [])] == [names[1], f"{names[2]}.partial"]
    left = {path.name for path in root.iterdir() if path.is_dir()}
    assert left == {names[0], "stranger-202401011230"}


def test_what_a_kill_leaves_of_a_replaced_entry_is_pruned(tmp_path, monkeypatch):
    build(tmp_path, plan(source=str(tmp_path)))
    with monkeypatch.context() as patch:
        patch.setattr(building.shutil, "rmtree", lambda *args, **options: None)
        build(tmp_path, plan(fingerprint="two", source=str(tmp_path)))
    states = {entry.name: entry.state for entry in kept(tmp_path)}
    assert states == {"toys": "complete", "toys.old": "interrupted"}
    assert [entry.name for entry in prune(tmp_path, [])] == ["toys.old"]
    assert [entry.name for entry in kept(tmp_path)] == ["toys"]


def test_prune_by_name(three):
    root, names = three
    assert [entry.name for entry in prune(root, [names[0]])] == [names[0]]
    assert not (root / names[0]).exists()
    assert (root / names[1]).exists()


def test_where_an_entry_lies_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO, "flaxae.data")
    for _ in range(2):
        build_shown(tmp_path, plan())
    (record,) = caplog.records
    assert record.getMessage().startswith(f"50 images of toys are in the store: {tmp_path}/toys, ")


def test_progress_goes_to_the_display(tmp_path):
    import contextlib

    said = []

    @contextlib.contextmanager
    def show(title):
        said.append(title)
        yield lambda done, count: said.append((done, count))

    token = display.set(show)
    try:
        build_shown(tmp_path, plan())
    finally:
        display.reset(token)
    assert said[0] == "decoding 50 images"
    assert said[-1] == (50, 50)


def test_a_store_that_does_not_exist_is_empty():
    assert kept(Path("/nowhere")) == []
