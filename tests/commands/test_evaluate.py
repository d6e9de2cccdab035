import json

import numpy as np
import pytest

from flaxae.commands import main as cli
from flaxae.data.splits import Split
from flaxae.models.convolutional.config import ConvolutionalConfig
from tests.fixtures.synthetic_run import make_run, solid_images


def run_evaluate(workdir, capsys, *flags):
    assert cli.main(["evaluate", "--workdir", str(workdir), *flags]) == 0
    said = capsys.readouterr().out
    return said, json.loads(said.splitlines()[-1])


def test_evaluate_scores_the_embedding(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "run", monkeypatch)
    said, result = run_evaluate(tmp_path / "run", capsys)
    assert result["examples"] == 41
    embedding = result["embedding"]
    scores = embedding["scores"]
    assert scores["knn_accuracy"]["pixels"] == 1  # solid colors
    assert set(scores["knn_accuracy"]) == {"embedding", "pca", "best_pca", "pixels"}
    assert set(scores) == {
        "nn1_accuracy",
        "knn_accuracy",
        "linear_probe_accuracy",
        "kmeans_accuracy",
        "kmeans_nmi",
        "kmeans_ari",
        "kmeans_v_measure",
        "trustworthiness",
    }
    assert result["dead_units"]["encoder/blocks_0/layers_0/activation"] == 0
    assert f"dead units  {sum(result['dead_units'].values())}, of hidden layers" in said
    assert np.sum(embedding["confusion"]) == 41
    assert embedding["class_names"] == ["Red", "Green", "Blue"]
    pictures = tmp_path / "run" / "evaluation" / "test"
    assert embedding["pictures"] == str(pictures)
    assert {path.name for path in pictures.iterdir()} == {"confusion.png", "embedding.png"}
    for text in ("5 nearest neighbors", "linear probe", "PCA (24)", "raw pixels", "Green"):
        assert text in said


def test_classes_keep_the_names_of_their_folders(tmp_path, monkeypatch, capsys):
    names = ("7", "d\u00fcnn", "\u732b")
    sizes = {"train": 60, "validation": 10, "test": 41}
    splits = {name: solid_images(size, names, seed=size) for name, size in sizes.items()}
    make_run(tmp_path / "run", monkeypatch, splits=splits)
    said, result = run_evaluate(tmp_path / "run", capsys)
    assert result["embedding"]["class_names"] == list(names)
    assert "d\u00fcnn " in said


def test_a_split_of_one_image_is_evaluated(tmp_path, monkeypatch, capsys):
    sizes = {"train": 60, "validation": 10, "test": 1}
    splits = {name: solid_images(size, seed=size) for name, size in sizes.items()}
    make_run(tmp_path / "run", monkeypatch, splits=splits)
    said, result = run_evaluate(tmp_path / "run", capsys)
    assert result["examples"] == 1
    assert result["dead_units"] is None  # one image tells nothing of them
    assert "dead units" not in said
    assert np.sum(result["embedding"]["confusion"]) == 1


@pytest.mark.parametrize("split", ["train", "all"])
def test_evaluate_does_not_test_on_what_it_learned_from(tmp_path, monkeypatch, capsys, split):
    make_run(tmp_path / "run", monkeypatch, ConvolutionalConfig(filters=(4,), latent_dim=1))
    said, result = run_evaluate(tmp_path / "run", capsys, "--split", split)
    assert set(result["embedding"]["scores"]) == {"trustworthiness"}
    assert result["embedding"]["scores"]["trustworthiness"]["embedding"] > 0
    assert "they learn from the training split; try --split test" in said


def test_evaluate_without_labels(tmp_path, monkeypatch, capsys):
    unlabeled = Split(solid_images(20).images, None, ())
    splits = {name: unlabeled for name in ("train", "validation", "test")}
    make_run(tmp_path / "run", monkeypatch, splits=splits)
    said, result = run_evaluate(tmp_path / "run", capsys)
    assert result["embedding"]["confusion"] is None
    assert "the dataset has no labels" in said
    pictures = list((tmp_path / "run" / "evaluation" / "test").iterdir())
    assert [path.name for path in pictures] == ["embedding.png"]
