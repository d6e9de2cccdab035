import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flaxae.errors import InputError, RunError
from flaxae.export import folder
from flaxae.export.folder import refuse_foreign, replace_folder

NAMES = ("a", "b")


def write(target: Path, text: str) -> None:
    with replace_folder(target, NAMES) as scratch:
        for name in NAMES:
            (scratch / name).write_text(text)


def state(parent: Path) -> dict[str, str]:
    """Every file below a folder, with its content."""
    files = (path for path in parent.rglob("*") if path.is_file())
    return {str(path.relative_to(parent)): path.read_text() for path in files}


@pytest.fixture
def target(tmp_path):
    write(tmp_path / "t", "old")
    return tmp_path / "t"


OLD, NEW = {"t/a": "old", "t/b": "old"}, {"t/a": "new", "t/b": "new"}


def test_a_folder_is_replaced_as_one(target):
    write(target, "new")
    assert state(target.parent) == NEW
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "t").mkdir()
    write(tmp_path / "t", "new")
    assert state(tmp_path) == NEW


def test_until_the_block_ends_nothing_is_seen(target):
    with replace_folder(target, NAMES) as scratch:
        (scratch / "a").write_text("new")
        assert state(target) == {"a": "old", "b": "old"}


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_changes_nothing(target, end):
    with pytest.raises(end), replace_folder(target, NAMES) as scratch:  # noqa: PT012
        (scratch / "a").write_text("new")
        raise end
    assert state(target.parent) == OLD
    assert [path.name for path in target.parent.iterdir()] == ["t"]


def test_folders_made_for_a_failing_block_are_gone(tmp_path):
    with pytest.raises(ValueError), replace_folder(tmp_path / "x" / "y" / "t", NAMES):  # noqa: PT011
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_sigterm_clears_up(target):
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
def test_a_kill_anywhere_leaves_a_whole_folder(target, place):
    """In the block, between the two renames, and after them."""
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


def test_a_failing_rename_puts_the_old_folder_back(target, monkeypatch):
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


def test_two_writers_at_once_are_one_too_many(target):
    with replace_folder(target, NAMES) as scratch:
        with pytest.raises(RunError, match="another process writes"):
            write(target, "second")
        for name in NAMES:
            (scratch / name).write_text("new")
    assert state(target.parent) == NEW


def test_a_writer_that_was_overtaken_does_not_touch_the_winner(tmp_path):
    (tmp_path / "scratch").mkdir()
    handle = os.open(tmp_path / "scratch", os.O_RDONLY)
    (tmp_path / "scratch").rename(tmp_path / "t")
    with pytest.raises(RunError, match="another process writes"):
        folder._lock(handle, tmp_path / "scratch")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(RunError, match="another process writes"):
        folder._lock(handle, tmp_path / "scratch")
    os.close(handle)


@pytest.mark.parametrize("content", [["a"], ["a", "b", "c"], ["c"]])
def test_what_is_not_ours_is_refused(tmp_path, content):
    (tmp_path / "t").mkdir()
    for name in content:
        (tmp_path / "t" / name).write_text("mine")
    with pytest.raises(InputError, match="is no earlier export and not empty"):
        write(tmp_path / "t", "new")
    assert set(state(tmp_path).values()) == {"mine"}
    assert len(state(tmp_path)) == len(content)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "t").write_text("mine")
    with pytest.raises(InputError, match="is a file; give a folder"):
        refuse_foreign(tmp_path / "t", NAMES)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written .*give another --output-dir"):
        write(Path("/proc/flaxae/t"), "new")
