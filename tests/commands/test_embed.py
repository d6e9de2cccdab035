import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from flaxae.api import export
from flaxae.api.load import load
from flaxae.commands import main as cli
from flaxae.data.splits import Split
from flaxae.export import embedding as files
from flaxae.models.convolutional.config import ConvolutionalConfig
from tests.fixtures.exports import check_export
from tests.fixtures.synthetic_run import COLORS, make_run, solid_images
from tests.fixtures.viewer_rules import (
    default_label,
    read_json,
    read_metadata,
    read_pbtxt,
    read_vectors,
)


def run_embed(workdir, *flags):
    return cli.main(["embed", "--workdir", str(workdir), *map(str, flags)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "flaxae" in path.name]


def test_an_export_is_what_the_model_says(tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    splits = make_run(workdir, monkeypatch)
    assert run_embed(workdir) == 0
    folder = workdir / "embedding"
    cells = check_export(folder, count=41, dimensions=2 * 3 * 4)
    test = splits["test"]
    for cell, image in zip(cells, test.images, strict=True):
        np.testing.assert_array_equal(cell, image)
    header, rows = read_metadata(folder / "metadata.tsv")
    assert default_label(header, rows) == "class"
    assert [row[:3] for row in rows] == [
        [str(i), str(label), list(COLORS)[label]] for i, label in enumerate(test.labels)
    ]
    table = pq.read_table(folder / "embedding.parquet")
    assert set(table["split"].to_pylist()) == {"test"}
    plane = np.stack([table["pca_x"], table["pca_y"]], axis=1)
    vectors = read_vectors(folder / "vectors.tsv").astype(np.float64)
    _, _, directions = np.linalg.svd(vectors - vectors.mean(axis=0))
    expected = (vectors - vectors.mean(axis=0)) @ directions[:2].T
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-4)
    assert read_pbtxt(workdir / "projector_config.pbtxt").tensor_path == "embedding/vectors.tsv"
    said = capsys.readouterr().out
    assert "41 points of 24 dimensions" in said
    assert f"tensorboard --logdir {workdir}\n" in said
    assert f"embedding-atlas {folder}/embedding.parquet " in said


def test_errors_and_vectors_are_those_of_the_model(tmp_path, monkeypatch):
    splits = make_run(tmp_path / "run", monkeypatch)
    run_embed(tmp_path / "run")
    run = load(tmp_path / "run")
    images = jnp.asarray(splits["test"].images / np.float32(255))
    vectors = run.model.apply(run.variables, images, method="encode")
    pixels = jax.nn.sigmoid(run.model.apply(run.variables, images))
    errors = np.mean((np.asarray(pixels) - images) ** 2, axis=(1, 2, 3))
    written = pq.read_table(tmp_path / "run" / "embedding" / "embedding.parquet")
    np.testing.assert_allclose(np.array(written["vector"].to_pylist()), vectors, atol=1e-5)
    np.testing.assert_allclose(written["reconstruction_error"], errors, rtol=1e-4)


def test_all_splits_one_after_the_other(tmp_path, monkeypatch):
    make_run(tmp_path / "run", monkeypatch)
    assert run_embed(tmp_path / "run", "--split", "all", "--limit", "65") == 0
    table = pq.read_table(tmp_path / "run" / "embedding" / "embedding.parquet")
    assert table["split"].to_pylist() == ["train"] * 60 + ["validation"] * 5
    assert table["id"].to_pylist() == list(range(65))


def test_a_folder_elsewhere_leaves_the_workdir_alone(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "run", monkeypatch)
    output = tmp_path / "new" / "naïve folder"
    assert run_embed(tmp_path / "run", "--limit", 2, "--output-dir", output) == 0
    check_export(output, count=2, dimensions=24)
    assert not (tmp_path / "run" / "projector_config.pbtxt").exists()
    assert f"tensorboard --logdir '{output}'" in capsys.readouterr().out
    moved = output.rename(tmp_path / "moved")
    check_export(moved, count=2, dimensions=24)


def test_a_folder_with_any_name_inside_the_workdir(tmp_path, monkeypatch):
    make_run(tmp_path / "run", monkeypatch)
    assert run_embed(tmp_path / "run", "--output-dir", tmp_path / "run" / "a" / 'é "b"') == 0
    assert (
        read_pbtxt(tmp_path / "run" / "projector_config.pbtxt").sprite.image_path
        == 'a/é "b"/sprite.png'
    )


def test_running_again_replaces_the_export(tmp_path, monkeypatch):
    make_run(tmp_path / "run", monkeypatch)
    folder = tmp_path / "run" / "embedding"
    run_embed(tmp_path / "run", "--limit", 5)
    small = contents(folder)
    run_embed(tmp_path / "run")
    check_export(folder, count=41, dimensions=24)
    run_embed(tmp_path / "run", "--limit", 5)
    assert contents(folder) == small  # nothing but the data decides the bytes
    assert list(read_pbtxt(tmp_path / "run" / "projector_config.pbtxt").tensor_shape) == [5, 24]
    assert hidden(tmp_path / "run") == []


def test_the_printed_sed_makes_the_config_one_for_a_server(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "run", monkeypatch)
    run_embed(tmp_path / "run")
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.lstrip().startswith("sed")]
    subprocess.run(line, shell=True, check=True, cwd=tmp_path / "run" / "embedding")
    info = read_json(tmp_path / "run" / "embedding" / "projector_config.json")
    assert info["tensorPath"] == "https://HOST/FOLDER/vectors.tsv"
    assert info["metadataPath"] == "https://HOST/FOLDER/metadata.tsv"
    assert info["sprite"]["imagePath"] == "https://HOST/FOLDER/sprite.png"


@pytest.mark.parametrize(
    ("writer", "failure"),
    [
        ("write_vectors", OSError("disk full")),
        ("write_metadata", KeyboardInterrupt()),
        ("write_parquet", OSError("disk full")),
        ("forget_config", OSError("read-only")),
    ],
)
def test_a_failure_in_the_middle_changes_nothing(tmp_path, monkeypatch, writer, failure):
    make_run(tmp_path / "run", monkeypatch)
    run_embed(tmp_path / "run", "--limit", 5)
    before = contents(tmp_path / "run" / "embedding"), contents(tmp_path / "run")

    def fail(*arguments):
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(export if writer == "forget_config" else files, writer, fail)
        assert run_embed(tmp_path / "run") in (1, 130)
        fresh = tmp_path / "deep" / "er" / "fresh"
        assert run_embed(tmp_path / "run", "--output-dir", fresh) in (1, 130)
    assert before == (contents(tmp_path / "run" / "embedding"), contents(tmp_path / "run"))
    assert hidden(tmp_path / "run") == []
    assert not (tmp_path / "deep").exists()
    assert run_embed(tmp_path / "run") == 0


def test_two_dimensions_get_a_third(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "run", monkeypatch, ConvolutionalConfig(filters=(4,), latent_dim=2))
    assert run_embed(tmp_path / "run") == 0
    check_export(tmp_path / "run" / "embedding", count=41, dimensions=3)
    vectors = read_vectors(tmp_path / "run" / "embedding" / "vectors.tsv")
    assert not vectors[:, 2].any()
    said = capsys.readouterr().out
    assert "41 points of 2 dimensions" in said
    assert "a third dimension of zeros was added" in said


def test_labels_may_be_missing(tmp_path, monkeypatch):
    unlabeled = Split(solid_images(20).images, None, ())
    make_run(
        tmp_path / "run",
        monkeypatch,
        splits={name: unlabeled for name in ("train", "validation", "test")},
    )
    assert run_embed(tmp_path / "run") == 0
    check_export(tmp_path / "run" / "embedding", count=20, dimensions=24)
    header, _ = read_metadata(tmp_path / "run" / "embedding" / "metadata.tsv")
    assert header == ["index", "reconstruction_error"]


def test_any_class_name(tmp_path, monkeypatch):
    split = solid_images(9, ("tab\there", 'new\nline "q"', ""))
    make_run(
        tmp_path / "run",
        monkeypatch,
        splits={name: split for name in ("train", "validation", "test")},
    )
    assert run_embed(tmp_path / "run") == 0
    _, rows = read_metadata(tmp_path / "run" / "embedding" / "metadata.tsv")
    assert {row[2] for row in rows} == {"tab here", 'new line "q"', "class_2"}


ERRORS = {
    "one dimension": (["--workdir", "{one}"], "the embedding has 1 dimension; viewers need 2"),
    "one point": (["--workdir", "{lonely}"], "the test split holds 1 image; viewers need 2 points"),
    "limit": (["--workdir", "{run}", "--limit", "1"], "--limit got 1; expected 2 or more"),
    "no run": (["--workdir", "{tmp}/none"], "holds no run"),
    "a file": (["--workdir", "{run}", "--output-dir", "{run}/config.json"], "is a file"),
    "foreign": (["--workdir", "{run}", "--output-dir", "{run}"], "is no earlier export"),
    "below a file": (
        ["--workdir", "{run}", "--output-dir", "{run}/config.json/x"],
        "cannot be written",
    ),
    "checkpoint": (["--workdir", "{run}", "--checkpoint", "3"], "there are: 7"),
    "split": (["--workdir", "{run}", "--split", "best"], "invalid choice"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_exported_is_said_in_one_line(tmp_path, monkeypatch, capsys, case):
    arguments, message = ERRORS[case]
    model, splits = None, None
    if case == "one dimension":
        model = ConvolutionalConfig(filters=(4,), latent_dim=1)
    if case == "one point":
        splits = {"train": solid_images(9), "validation": solid_images(9), "test": solid_images(1)}
    make_run(tmp_path / "run", monkeypatch, model, splits)
    places = {"run": tmp_path / "run", "tmp": tmp_path}
    places |= {"one": tmp_path / "run", "lonely": tmp_path / "run"}
    before = contents(tmp_path / "run")
    assert cli.main(["embed", *(text.format(**places) for text in arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("flaxae: error: ")
    assert message in line
    assert contents(tmp_path / "run") == before
    assert not (tmp_path / "run" / "embedding").exists()


def test_the_users_files_are_never_replaced(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "run", monkeypatch)
    run_embed(tmp_path / "run")
    (tmp_path / "run" / "embedding" / "notes.txt").write_text("mine")
    before = contents(tmp_path / "run" / "embedding")
    assert run_embed(tmp_path / "run") == 2
    assert "it holds notes.txt" in capsys.readouterr().err
    assert contents(tmp_path / "run" / "embedding") == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vectors.tsv").write_text("mine")
    assert run_embed(tmp_path / "run", "--output-dir", tmp_path / "other") == 2
    assert "it lacks embedding.parquet" in capsys.readouterr().err
    assert contents(tmp_path / "other") == {"vectors.tsv": b"mine"}
