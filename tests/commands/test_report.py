import errno
import os
from pathlib import Path

import pytest

from flaxae.commands import main as cli
from flaxae.data import atomic
from flaxae.data.sources import tfds
from flaxae.errors import InputError
from flaxae.export import outputs
from flaxae.report.figures import reconstruction_grid
from tests.fixtures.synthetic_run import make_run, solid_images

START = b"<!doctype html>"


@pytest.fixture
def run(tmp_path, monkeypatch):
    make_run(tmp_path / "run", monkeypatch)
    return tmp_path / "run"


def report(*words: object) -> int:
    return cli.main(["report", *map(str, words)])


def test_report_writes_one_file(run, capsys):
    before = {path.name for path in run.iterdir()}
    assert report("--workdir", run) == 0
    made = {path.name for path in run.iterdir()} - before
    # Which keep the scores of PCA and pixels, and what is normal.
    assert made == {"report.html", "evaluation", "reference"}
    said = capsys.readouterr().out
    assert str(run / "report.html") in said
    page = (run / "report.html").read_bytes()
    assert page.startswith(START)
    for text in (b"this model", b"PCA, same size", b"linear probe", b"How it was made"):
        assert text in page
    assert report("--workdir", run) == 0  # an earlier one is replaced


def test_a_file_of_somebody_else_is_kept(run, tmp_path, capsys):
    foreign = tmp_path / "mine.html"
    foreign.write_text("mine")
    assert report("--workdir", run, "--output", foreign) == 2
    assert "was not written by flaxae" in capsys.readouterr().err
    assert foreign.read_text() == "mine"
    assert report("--workdir", run, "--output", foreign, "--overwrite", "--thumbnails", 0) == 0
    assert foreign.read_bytes().startswith(START)
    assert report("--workdir", run, "--output", foreign, "--thumbnails", 9) == 0  # now its own
    assert report("--workdir", run, "--output", tmp_path / "a.pdf") == 2
    assert ".html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--compare", "a"], "two runs or more"),
        ([], "--workdir and --compare got neither"),
        (["--workdir", "a", "--compare", "a", "b"], "got both"),
        (["--workdir", "a", "--thumbnails", "-1"], "--thumbnails got -1"),
        (["--workdir", "nowhere"], "holds no run"),
        (["--compare", "nowhere", "a"], "holds no run"),
    ],
)
def test_bad_input_is_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report(*words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [*tmp_path.iterdir()] == []


def test_runs_are_compared(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert report("--compare", run, run) == 0
    assert (tmp_path / "comparison.html").read_bytes().startswith(START)
    assert b"run (2)" in (tmp_path / "comparison.html").read_bytes()


def test_a_folder_of_images_can_be_shown(run, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "store"))
    for row, color in enumerate(("red", "blue", "green")):
        folder = tmp_path / "images" / color
        folder.mkdir(parents=True)
        Image.new("RGB", (12, 8), color).save(folder / f"{row}.png")
    assert report("--workdir", run, "--images", tmp_path / "images") == 0


def test_a_run_without_its_own_images_shows_others(run, tmp_path, monkeypatch):
    from PIL import Image

    def gone(config):
        raise InputError("gone")

    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "store"))
    monkeypatch.setattr(tfds, "load", gone)
    (tmp_path / "images").mkdir()
    for row, color in enumerate(("red", "blue", "green")):
        Image.new("RGB", (12, 8), color).save(tmp_path / "images" / f"{row}.png")
    assert not (run / "reconstructions").exists()
    assert report("--workdir", run, "--images", tmp_path / "images") == 0
    assert b"Examples by epoch" not in (run / "report.html").read_bytes()


def test_as_many_examples_are_shown_as_there_are_images(tmp_path, monkeypatch):
    sizes = {"train": 60, "validation": 10, "test": 3}
    splits = {name: solid_images(size, seed=size) for name, size in sizes.items()}
    make_run(tmp_path / "run", monkeypatch, splits=splits)
    (tmp_path / "run" / "reconstructions").mkdir()
    rows = dict.fromkeys(("input", "reconstruction"), splits["test"].images)
    picture = reconstruction_grid(rows, "a title that is wider than three images " * 2)
    picture.save(tmp_path / "run" / "reconstructions" / "epoch_0001.png")
    assert report("--workdir", tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert 'alt="3 images of the test split: input" width="36"' in page


def test_a_full_disk_is_told_and_leaves_the_old_page(run, monkeypatch, capsys):
    assert report("--workdir", run) == 0
    before = (run / "report.html").read_bytes()

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(outputs, "write_whole", full)
    assert report("--workdir", run) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (run / "report.html").read_bytes() == before


def train(folder: Path, *words: str) -> int:
    data = ["--dataset", "tiny", "--filters", "4", "--batch-size", "12", "--epochs", "1"]
    return cli.main(["train", "--workdir", str(folder), *data, *words])


def test_training_ends_with_a_small_report(tmp_path, tiny_splits, capsys, monkeypatch):
    assert train(tmp_path / "run") == 0
    assert f"report:    {tmp_path / 'run' / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "run" / "report.html").read_bytes()
    assert page.startswith(START)
    assert b"A quick look" in page
    (tmp_path / "run" / "report.html").unlink()
    write = atomic.write_atomically

    def full(path, content):
        if path.name == "report.html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(atomic, "write_atomically", full)
    assert train(tmp_path / "run") == 0  # trained already
    said = capsys.readouterr()
    assert "the report cannot be written: the disk or the quota is full" in said.err
    assert "report:" not in said.out
    monkeypatch.undo()
    assert not (tmp_path / "run" / "report.html").exists()


def test_the_pages_of_a_denoising_run_say_which_inputs_are_noisy(tmp_path, tiny_splits):
    assert train(tmp_path / "run", "--noise-factor", "0.3") == 0
    page = tmp_path / "run" / "report.html"
    assert b"inputs without noise" in page.read_bytes()
    assert report("--workdir", tmp_path / "run") == 0
    assert b"inputs with the noise of training" in page.read_bytes()


def test_training_without_a_report(tmp_path, tiny_splits):
    assert train(tmp_path / "run", "--no-report") == 0
    assert not (tmp_path / "run" / "report.html").exists()


def test_training_does_not_fail_because_of_its_report(tmp_path, tiny_splits, capsys):
    tiny_splits["test"] = tiny_splits["test"].first(1)  # which is no map
    assert train(tmp_path / "run") == 0
    assert "no report: the test split holds 1 image" in capsys.readouterr().err
