"""The command `score`: its files, its last line, and what it refuses."""

import csv
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from flaxae.api.load import load
from flaxae.commands import main as cli
from flaxae.export.outputs import is_marked
from flaxae.models.fully_connected.config import FullyConnectedConfig
from tests.fixtures.synthetic_run import make_run, solid_images

NAMES = ["a b.png", "=1+1.png", 'naïve, "quoted".png', "line\nbreak.png", "dots..png", "x\ty.png"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAXAE_STORE_DIR", str(tmp_path / "store"))
    sizes = {"train": 60, "validation": 30, "test": 41}
    splits = {name: solid_images(size, seed=size) for name, size in sizes.items()}
    make_run(tmp_path / "run", monkeypatch, FullyConnectedConfig(hidden_units=(6, 5)), splits)
    return tmp_path / "run"


@pytest.fixture
def new(tmp_path):
    """A folder of images with odd names, of another size, one of them odd."""
    folder = tmp_path / "new"
    folder.mkdir()
    images = solid_images(len(NAMES), seed=5).images
    images[2] = np.random.default_rng(0).integers(0, 256, images[2].shape)
    for name, image in zip(sorted(NAMES), images, strict=True):
        Image.fromarray(image).resize((24, 16)).save(folder / name, "PNG")
    return folder


def score(*words):
    return cli.main(["score", *map(str, words)])


def last_line(capsys):
    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    return json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=refuse)


def rows(folder):
    with open(folder / "scores.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_of_images_becomes_a_table_and_pictures(run, new, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--workdir", run, "--images", new, "--output-dir", out, "--false-alarms", 0.1, "--npz"]
    assert score(*words) == 0
    said = last_line(capsys)
    expected = load(run).score(new, false_alarms=0.1)
    table = rows(out)
    assert list(table[0]) == ["file", "label", "score", "threshold", "anomaly", "rank"]
    assert len(table) == said["images"] == 6
    assert table[0]["file"] == "=1+1.png"
    assert "line\\nbreak.png" in [row["file"] for row in table]
    np.testing.assert_array_equal(
        [np.float32(row["score"]) for row in table], expected.values.astype(np.float32)
    )
    assert {np.float32(row["threshold"]) for row in table} == {np.float32(said["threshold"])}
    assert [row["anomaly"] for row in table] == [
        str(bool(above)).lower() for above in expected.anomalies
    ]
    assert [int(row["rank"]) for row in table] == expected.ranks.tolist()
    assert said["anomalies"] == expected.anomalies.sum()
    assert said["promised_false_alarms"]["low"] < 0.1 < said["promised_false_alarms"]["high"]
    assert sorted(os.listdir(out)) == [
        "maps",
        "scores.csv",
        "scores.npz",
        "scores.parquet",
        "worst.png",
    ]
    assert sorted(os.listdir(out / "maps")) == [
        "0__1_1.png",
        "1_a_b.png",
        "2_dots..png",
        "3_line_break.png",
        "4_na_ve___quoted_.png",
        "5_x_y.png",
    ]
    assert all(is_marked(path) for path in [*(out / "maps").iterdir(), out / "worst.png"])
    parquet = pq.read_table(out / "scores.parquet")
    assert parquet["rank"].to_pylist() == expected.ranks.tolist()
    assert parquet["anomaly"].to_pylist() == expected.anomalies.tolist()
    assert parquet["image"][0]["bytes"].as_py()[:4] == b"\x89PNG"
    assert {"pca_x", "pca_y", "mse", "whitened_neighbors"} < set(parquet.column_names)
    with np.load(out / "scores.npz") as arrays:
        assert arrays["maps"].shape == (6, 8, 12)
        np.testing.assert_allclose(
            (arrays["maps"] ** 2).mean(axis=(1, 2)), arrays["mse"], rtol=1e-3
        )


def test_a_split_with_labels_tells_how_well_it_detects(run, capsys):
    assert score("--workdir", run, "--normal-classes", "Red", "--false-alarms", 0.2) == 0
    said = last_line(capsys)
    assert said["output_dir"] == str(run / "scores")
    assert {row["label"] for row in rows(run / "scores")} == {"Red", "Green", "Blue"}
    found = said["detection"]["combined"]
    assert set(found) == {"auroc", "average_precision", "false_alarms_at_95"}
    assert "PCA of 2" in " ".join(said["detection"]) or "mean image" in said["detection"]
    assert said["false_alarms"]["low"] <= said["false_alarms"]["rate"]


def test_too_few_images_for_the_rate_are_warned_of(run, capsys):
    assert score("--workdir", run, "--maps", 0) == 0
    out, error = capsys.readouterr()
    assert "no threshold: 1.00% false alarms take 99 held-out normal images" in error
    assert "the run has 30" in error
    assert json.loads(out.splitlines()[-1])["threshold"] is None
    assert {(row["threshold"], row["anomaly"]) for row in rows(run / "scores")} == {("", "")}
    assert not (run / "scores" / "maps").exists()


@pytest.mark.parametrize("split", ["train", "all", "test"])
def test_scores_of_training_images_are_warned_of(run, capsys, split):
    words = ["--workdir", run, "--split", split, "--maps", 0, "--false-alarms", 0.1]
    assert score(*words) == 0
    out, error = capsys.readouterr()
    assert ("each training image is its own nearest neighbor" in error) == (split != "test")
    assert ", from 30 held-out images: 9.68 % (between " in out
    assert " %) of normal images lie above it, with 95 % confidence\n" in out


@pytest.mark.parametrize("flags", [["--npz"], ["--maps", 0], ["--maps", 0, "--npz"]])
def test_the_files_are_named_that_are_there(run, capsys, flags):
    assert score("--workdir", run, *flags) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "everything is" in line)
    where, _, named = line.removeprefix("everything is in ").partition(": ")
    assert where == str(run / "scores")
    found = {path.name + "/" * path.is_dir() for path in (run / "scores").iterdir()}
    assert set(named.split(", ")) == found


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0.00001, "no threshold: 0.001% false alarms take 99,999 held-out"),
        (0.00015, "no threshold: 0.015% false alarms take 6,666 held-out"),
    ],
)
def test_a_small_rate_is_not_rounded_to_zero(run, capsys, rate, said):
    assert score("--workdir", run, "--maps", 0, "--false-alarms", rate) == 0
    assert said in capsys.readouterr().err


def test_one_image_and_a_second_run_into_the_same_folder(run, new, tmp_path, capsys):
    words = ["--workdir", run, "--output-dir", tmp_path / "out"]
    assert score(*words, "--images", new) == 0
    assert score(*words, "--images", new / "a b.png") == 0
    assert os.listdir(tmp_path / "out" / "maps") == ["0_a_b.png"]
    first = contents(tmp_path / "out")
    assert score(*words, "--images", new / "a b.png") == 0
    assert contents(tmp_path / "out") == first  # nothing but the images decides the bytes
    assert last_line(capsys)["images"] == 1


def test_what_others_have_put_into_the_folder_is_refused_and_kept(run, new, tmp_path, capsys):
    words = ["--workdir", run, "--images", new, "--output-dir", tmp_path / "out"]
    assert score(*words) == 0
    (tmp_path / "out" / "maps" / "notes.txt").write_text("mine")
    before = contents(tmp_path / "out")
    assert score(*words) == 2
    assert "it holds maps/notes.txt; nothing was changed" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "empty"], "empty holds no image"),
        (["--images", "absent"], "absent does not exist"),
        (["--images", "new", "--output-dir", "new/out"], "in the images' folder"),
        (["--false-alarms", "1"], "--false-alarms got 1.0; expected a share"),
        (["--false-alarms", "1e-310"], "got 1e-310; expected a share of at least 1e-09"),
        (["--worst-pixels", "0"], "--worst-pixels got 0.0; expected percent"),
        (["--maps", "-1"], "--maps got -1; expected a whole number"),
        (["--score", "x"], "argument --score: invalid choice: 'x'"),
        (["--normal-classes", "3"], "--normal-classes got 3; expected names or numbers"),
        (["--masks", "new"], "--masks are paired by file name"),
        (["--images", "new", "--masks", "absent"], "absent does not exist"),
        (["--checkpoint", "99"], "99"),
    ],
)
def test_bad_input_is_one_line(run, new, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert score("--workdir", run, *words) == 2
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if not line.startswith("note: "))
    assert line.startswith("flaxae: error: ")
    assert message in line
    assert not (run / "scores").exists()
