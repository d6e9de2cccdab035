import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from flaxae.errors import InputError, RunError
from flaxae.export import folder
from flaxae.export.folder import Extras, refuse_foreign, replace_folder
from flaxae.export.outputs import encoded

NAMES = ("a", "b")


def write(target: Path, text: str) -> None:
    with replace_folder(target, NAMES) as scratch:
        for name in NAMES:
            (scratch / name).write_text(text)


def state(parent: Path) -> dict[str, str]:
    """Returns the content of every file below a folder, by relative path."""
    files = (path for path in parent.rglob("*") if path.is_file())
    return {str(path.relative_to(parent)): path.read_text() for path in files}


@pytest.fixture
def target(tmp_path):
    write(tmp_path / "t", "old")
    return tmp_path / "t"


OLD, NEW = {"t/a": "old", "t/b": "old"}, {"t/a": "new", "t/b": "new"}


def test_replace_folder_replaces_all_files(target):
    write(target, "new")
    assert state(target.parent) == NEW
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_replace_folder_fills_an_empty_folder(tmp_path):
    (tmp_path / "t").mkdir()
    write(tmp_path / "t", "new")
    assert state(tmp_path) == NEW


def test_target_is_unchanged_until_the_block_ends(target):
    with replace_folder(target, NAMES) as scratch:
        (scratch / "a").write_text("new")
        assert state(target) == {"a": "old", "b": "old"}


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, SystemExit])
def test_target_is_unchanged_if_the_block_fails(target, end):
    with pytest.raises(end), replace_folder(target, NAMES) as scratch:  # noqa: PT012
        (scratch / "a").write_text("new")
        raise end
    assert state(target.parent) == OLD
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_new_parent_folders_are_removed_if_the_block_fails(tmp_path):
    with pytest.raises(ValueError), replace_folder(tmp_path / "x" / "y" / "t", NAMES):  # noqa: PT011
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_sigterm_removes_the_scratch_folder(target):
    with pytest.raises(SystemExit) as ended, replace_folder(target, NAMES) as scratch:  # noqa: PT012
        (scratch / "a").write_text("new")
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert state(target.parent) == OLD
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


KILLED = """
import os, signal, sys
from pathlib import Path
from flaxae.export import folder
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
target, place = Path(sys.argv[1]), sys.argv[2]
renames, real = [], Path.rename
def rename(self, other):
    result = real(self, other)
    renames.append(self)
    if len(renames) == int(place): die()
    return result
Path.rename = rename
with folder.replace_folder(target, ("a", "b")) as scratch:
    for name in ("a", "b"): (scratch / name).write_text("new")
    if place == "0": die()
"""


@pytest.mark.parametrize("place", [0, 1, 2])
def test_sigkill_leaves_a_complete_folder(target, place):
    """The process is killed in the block, between the two renames or after them."""
    command = [sys.executable, "-c", KILLED, str(target), str(place)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = state(target.parent)
    whole = {
        0: OLD,
        1: {".t.flaxae-old/a": "old", ".t.flaxae-old/b": "old"},
        2: NEW,
    }[place]
    assert whole.items() <= left.items()
    assert target.exists() == (place != 1)
    with pytest.raises(ValueError), replace_folder(target, NAMES):  # noqa: PT011
        raise ValueError
    assert state(target.parent) == (NEW if place == 2 else OLD)
    write(target, "newest")
    assert set(state(target.parent).values()) == {"newest"}
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_a_failed_rename_restores_the_old_folder(target, monkeypatch):
    real, calls = Path.rename, []

    def rename(self, other):
        calls.append(self)
        if len(calls) == 2:
            raise OSError("no")
        return real(self, other)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="no"):
        write(target, "new")
    assert state(target.parent) == OLD
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_a_second_writer_is_refused(target):
    with replace_folder(target, NAMES) as scratch:
        with pytest.raises(RunError, match="another process is writing"):
            write(target, "second")
        for name in NAMES:
            (scratch / name).write_text("new")
    assert state(target.parent) == NEW


def test_lock_fails_if_the_scratch_folder_was_renamed_or_replaced(tmp_path):
    (tmp_path / "scratch").mkdir()
    handle = os.open(tmp_path / "scratch", os.O_RDONLY)
    (tmp_path / "scratch").rename(tmp_path / "t")
    with pytest.raises(RunError, match="another process is writing"):
        folder._lock(handle, tmp_path / "scratch")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(RunError, match="another process is writing"):
        folder._lock(handle, tmp_path / "scratch")
    os.close(handle)


@pytest.mark.parametrize("content", [["a"], ["a", "b", "c"], ["c"]])
def test_other_files_are_refused_and_kept(tmp_path, content):
    (tmp_path / "t").mkdir()
    for name in content:
        (tmp_path / "t" / name).write_text("mine")
    with pytest.raises(InputError, match="is no earlier export: it"):
        write(tmp_path / "t", "new")
    assert set(state(tmp_path).values()) == {"mine"}
    assert len(state(tmp_path)) == len(content)


def test_a_file_as_target_is_refused(tmp_path):
    (tmp_path / "t").write_text("mine")
    with pytest.raises(InputError, match="is a file; give a folder"):
        refuse_foreign(tmp_path / "t", NAMES)


def with_extras(target, text, map_names=("0.png",)):
    extras = Extras(files=("c",), folders=("maps",))
    with replace_folder(target, NAMES, extras=extras) as scratch:
        for name in (*NAMES, "c"):
            (scratch / name).write_text(text)
        (scratch / "maps").mkdir()
        for name in map_names:
            png = encoded(Image.new("L", (1, 1)), "PNG")
            (scratch / "maps" / name).write_bytes(png)


def test_extra_files_and_folders_of_pictures_are_replaced_whole(tmp_path):
    with_extras(tmp_path / "t", "old", ("0.png", "1.png"))
    with_extras(tmp_path / "t", "new", ("2.png",))
    assert (tmp_path / "t" / "c").read_text() == "new"
    assert [path.name for path in (tmp_path / "t" / "maps").iterdir()] == ["2.png"]
    write_plain = replace_folder(tmp_path / "t", NAMES, extras=Extras(("c",), ("maps",)))
    with write_plain as scratch:
        for name in NAMES:
            (scratch / name).write_text("plain")
    assert state(tmp_path) == {"t/a": "plain", "t/b": "plain"}
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("strange", ["mine.txt", "mine.png", "deeper"])
def test_a_stranger_among_the_pictures_is_refused_and_kept(tmp_path, strange):
    with_extras(tmp_path / "t", "old")
    mine = tmp_path / "t" / "maps" / strange
    if strange == "deeper":
        mine.mkdir()
    elif strange == "mine.png":
        Image.new("L", (1, 1)).save(mine)
    else:
        mine.write_text("mine")
    with pytest.raises(InputError, match=f"it holds maps/{strange}; nothing was changed"):
        with_extras(tmp_path / "t", "new")
    assert mine.exists()
    assert (tmp_path / "t" / "a").read_text() == "old"


def test_a_link_in_place_of_the_pictures_is_refused(tmp_path):
    with_extras(tmp_path / "t", "old")
    (tmp_path / "t" / "maps").rename(tmp_path / "elsewhere")
    (tmp_path / "t" / "maps").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it holds maps"):
        with_extras(tmp_path / "t", "new")


def test_leftovers_of_a_kill_with_pictures_are_removed(tmp_path):
    left = tmp_path / ".t.flaxae-partial" / "maps"
    left.mkdir(parents=True)
    (left / "0.png").write_text("half")
    with_extras(tmp_path / "t", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_an_unwritable_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written .*give another --output-dir"):
        write(Path("/proc/flaxae/t"), "new")


@pytest.fixture
def mounted(target, monkeypatch):
    """A mount point: nothing can rename it."""
    monkeypatch.setattr(folder.os.path, "ismount", lambda path: Path(path) == target)
    rename = Path.rename
    busy = OSError(16, "Device or resource busy")

    def renamed(path, to):
        if target in (path, Path(to)):
            raise busy
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", renamed)
    (target / "lost+found").mkdir()
    return target


def test_a_mount_point_gets_its_files_one_by_one(mounted):
    write(mounted, "new")
    assert state(mounted.parent) == NEW
    assert sorted(path.name for path in mounted.iterdir()) == ["a", "b", "lost+found"]


def test_extra_files_of_a_mount_point_are_replaced_too(mounted):
    with_extras(mounted, "old", ("0.png", "1.png"))
    with_extras(mounted, "new", ("2.png",))
    assert [path.name for path in (mounted / "maps").iterdir()] == ["2.png"]
    with replace_folder(mounted, NAMES, extras=Extras(("c",), ("maps",))) as scratch:
        for name in NAMES:
            (scratch / name).write_text("plain")
    assert state(mounted.parent) == {"t/a": "plain", "t/b": "plain"}


def test_a_mount_point_is_unchanged_if_the_block_fails(mounted):
    def fail():
        with replace_folder(mounted, NAMES) as scratch:
            (scratch / "a").write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert state(mounted.parent) == OLD
    assert sorted(path.name for path in mounted.iterdir()) == ["a", "b", "lost+found"]


def test_leftovers_of_a_kill_in_a_mount_point_are_removed(mounted):
    (mounted / ".flaxae-partial").mkdir()
    (mounted / ".flaxae-partial" / "a").write_text("half")
    write(mounted, "new")
    assert state(mounted.parent) == NEW


def test_a_stranger_in_a_mount_point_is_refused_and_kept(mounted):
    (mounted / "letter").write_text("dear")
    with pytest.raises(InputError, match="it holds letter"):
        write(mounted, "new")
    assert state(mounted.parent) == {**OLD, "t/letter": "dear"}
