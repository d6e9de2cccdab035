"""What reconstruct and embed may replace, and in which format they write."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from flaxae.commands import main as cli
from flaxae.runs import projector_link
from tests.fixtures.exports import SIX
from tests.fixtures.synthetic_run import make_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    make_run(tmp_path / "run", monkeypatch)
    return tmp_path / "run"


def command(*words):
    return cli.main([str(word) for word in words])


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flaxae: error: ")
    return line


def state(path):
    found = os.lstat(path)
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("flags", [[], ["--overwrite"]], ids=["plain", "overwrite"])
@pytest.mark.parametrize("kind", ["config", "suffix", "folder", "pipe", "device", "link to config"])
def test_what_is_no_picture_is_never_replaced(run, tmp_path, capsys, kind, flags):
    made = {
        "config": run / "config.json",
        "suffix": run / "config.png",
        "folder": tmp_path / "folder.png",
        "pipe": tmp_path / "pipe.png",
        "device": tmp_path / "device.png",
        "link to config": tmp_path / "link.png",
    }[kind]
    if kind == "suffix":
        made.write_text("a file of a run")
    if kind == "folder":
        made.mkdir()
    if kind == "pipe":
        os.mkfifo(made)
    if kind == "device":
        made.symlink_to("/dev/null")
    if kind == "link to config":
        made.symlink_to(run / "config.json")
    before = state(made), (run / "config.json").read_bytes()
    assert command("reconstruct", "--workdir", run, "--output", made, *flags) == 2
    assert "--output" in one_line(capsys)
    assert before == (state(made), (run / "config.json").read_bytes())


def test_a_picture_of_somebody_else_is_replaced_if_overwrite_says_so(run, tmp_path, capsys):
    picture = tmp_path / "mine.png"
    Image.new("L", (3, 3)).save(picture)
    before = picture.read_bytes()
    words = ("reconstruct", "--workdir", run, "--output", picture)
    assert command(*words) == 2
    assert "was not written by flaxae; give another --output, or --overwrite" in one_line(capsys)
    assert picture.read_bytes() == before
    assert command(*words, "--overwrite") == 0
    assert picture.read_bytes() != before
    assert command(*words) == 0  # it is flaxae's now


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "b.JPEG", "c.webp"])
def test_the_suffix_decides_the_format(run, tmp_path, name):
    path = tmp_path / "new" / name
    words = ("reconstruct", "--workdir", run, "--examples", 2, "--output", path)
    assert command(*words) == 0
    expected = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
    with Image.open(path) as picture:
        assert picture.format == expected[name.lower().rpartition(".")[2]]
    assert command(*words) == 0  # tells its own picture by the mark
    assert [each.name for each in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x.gif", "x", "x.png.txt"])
def test_another_suffix_is_refused_with_what_is_possible(run, tmp_path, capsys, name):
    assert command("reconstruct", "--workdir", run, "--output", tmp_path / name) == 2
    assert ".png, .jpg, .jpeg, .webp" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_default_picture_of_an_earlier_version_is_replaced(run):
    (run / "reconstructions").mkdir(exist_ok=True)
    path = run / "reconstructions" / "test.png"
    path.write_bytes(b"without a mark")
    assert command("reconstruct", "--workdir", run) == 0
    with Image.open(path) as picture:
        assert picture.format == "PNG"


def test_a_link_stays_a_link(run, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "real.png")
    assert command("reconstruct", "--workdir", run, "--output", link) == 0
    assert link.is_symlink()
    assert (tmp_path / "real.png").is_file()


def test_links_in_a_circle_are_one_line(run, tmp_path, capsys):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert command("reconstruct", "--workdir", run, "--output", tmp_path / "a.png") == 2
    one_line(capsys)
    assert command("reconstruct", "--workdir", run, "--output-dir", tmp_path / "a.png") == 2
    one_line(capsys)
    assert command("embed", "--workdir", run, "--output-dir", tmp_path / "a.png") == 2
    one_line(capsys)


def test_pictures_of_a_folder_replace_no_pipe(run, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "3.png")
    for flags in ([], ["--overwrite"]):
        assert command("reconstruct", "--workdir", run, "--output-dir", out, *flags) == 2
        assert "a device or pipe" in one_line(capsys)
    assert [path.name for path in out.iterdir()] == ["3.png"]


def test_a_folder_of_the_same_names_is_replaced_if_overwrite_says_so(run, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for name in SIX:
        (out / name).write_text("mine")
    words = ("embed", "--workdir", run, "--output-dir", out)
    assert command(*words) == 2
    assert "sprite.png that flaxae did not write" in one_line(capsys)
    assert {path.read_text() for path in out.iterdir()} == {"mine"}
    assert command(*words, "--overwrite") == 0
    assert command(*words) == 0  # it is flaxae's now
    (out / "notes.txt").write_text("mine")
    assert command(*words, "--overwrite") == 2
    assert "it holds notes.txt" in one_line(capsys)


def test_embed_elsewhere_writes_nothing_in_the_workdir(run, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    assert command("embed", "--workdir", run) == 0
    (run / "projector_config.pbtxt").rename(tmp_path / "kept")
    (run / "projector_config.pbtxt").mkdir()  # which cannot be unlinked
    monkeypatch.setattr(projector_link, "write_atomically", refuse)
    assert command("embed", "--workdir", run, "--output-dir", tmp_path / "out") == 0


def test_a_full_disk_is_one_line_and_leaves_nothing(run, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr("flaxae.export.embedding.write_parquet", full)
    path = tmp_path / "new" / "folder" / "x.png"
    assert command("reconstruct", "--workdir", run, "--output", path) == 1
    assert "could not be written (No space left on device); make room" in one_line(capsys)
    assert command("embed", "--workdir", run, "--output-dir", tmp_path / "new" / "embedding") == 1
    assert "could not be written (No space left on device); make room" in one_line(capsys)
    assert [each.name for each in tmp_path.iterdir()] == ["run"]


def test_a_picture_of_an_export_in_a_run_is_a_file_of_the_run(run, capsys):
    assert command("embed", "--workdir", run) == 0
    sprite = run / "embedding" / "sprite.png"
    before = state(sprite)
    capsys.readouterr()
    assert command("reconstruct", "--workdir", run, "--output", sprite) == 2
    assert "a file of the run" in one_line(capsys)
    assert state(sprite) == before


def test_the_numbers_come_also_where_pictures_cannot_be_written(run, capsys):
    (run / "evaluation").write_text("in the place of a folder")
    assert command("evaluate", "--workdir", run) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["embedding"]["pictures"] is None
    assert printed.err.startswith("warning: no pictures in")
