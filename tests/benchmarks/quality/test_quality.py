import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.common.command import run
from benchmarks.quality import ROWS, Settings, results
from benchmarks.quality.published import beside_published
from flaxae.config.flags import from_flags

ROOT = Path(__file__).parents[3]


def result(loss):
    scores = {"embedding": loss, "pca": 0.5, "best_pca": 0.75, "pixels": 0.25}
    names = ("nn1_accuracy", "knn_accuracy", "linear_probe_accuracy", "kmeans_accuracy")
    return {
        "loss": loss,
        "mse": 0.01,
        "ssim": 0.9,
        "seconds": 90.0,
        "dimensions": 128,
        "scores": dict.fromkeys(names, scores),
    }


def test_a_row_has_means_and_half_ranges():
    rows = {"default": {"runs": [result(0.1), result(0.2), result(0.6)]}}
    titles, _, line = results.table(rows).splitlines()
    assert line == (
        "| default (3) | 128 | 0.3000 ± 0.2500 | 0.0100 | 0.900 | 30.0 ± 25.0 | 75.0 | 25.0 "
        "| 30.0 ± 25.0 | 30.0 ± 25.0 | 1.5 |"
    )
    assert line.count("|") == titles.count("|")
    titles, rule, line = results.table(rows, short=True).splitlines()
    assert line == "| default (3) | 128 | 0.0100 | 0.900 | 30.0 ± 25.0 | 75.0 | 25.0 | 1.5 |"
    assert titles.count("|") == rule.count("|") == line.count("|")


def test_our_rows_are_beside_the_published_ones_of_as_many_numbers():
    scores = {key: {"embedding": 0.5} for key in ("nn1_accuracy", "knn_accuracy")}
    row = {"runs": [{"scores": scores, "mse": mse, "dimensions": 2} for mse in (0.1, 0.2)]}
    lines = beside_published({"x, Fashion-MNIST": row, "another": row}).splitlines()
    assert lines[2] == "| 2 | PCA, published | 44.7 | 50.5 | 0.0461 |"
    assert lines[7] == "| 2 | **x, Fashion-MNIST** | 50.0 | 50.0 | 0.1500 ± 0.0500 |"
    assert lines[8].startswith("| 64 | PCA")
    assert len(lines) == 11


@pytest.mark.parametrize("name", ROWS)
def test_the_flags_of_a_row_are_flags_of_train(name):
    assert from_flags(ROWS[name].flags).epochs >= 3


def test_every_seed_is_measured_once_and_kept(monkeypatch, capsys, tmp_path):
    configs = []

    def fake(answer, starts, checkpoint):
        assert answer is results.train_and_evaluate
        assert checkpoint == "best"
        (config,) = starts
        configs.append(config)
        (config.workdir_path() / "evaluation").mkdir(parents=True)
        return result(0.1)

    monkeypatch.setattr(results, "in_process", fake)
    flags = ["--workdir", str(tmp_path), "--manual-dir", "idx", "--seeds", "2"]
    flags += ["--output-dir", str(tmp_path / "results")]
    flags += ["--rows", "original, fully connected", "standard, Fashion-MNIST"]
    assert run(Settings, flags) == 0
    chosen = [(config.model.name, config.data.manual_dir, config.seed) for config in configs]
    first, second = "fully_connected", "convolutional"
    assert chosen == [(first, None, 0), (first, None, 1), (second, "idx", 0), (second, "idx", 1)]
    assert configs[2].workdir == str(tmp_path / "standard-Fashion-MNIST-0")
    before = capsys.readouterr().out
    assert run(Settings, flags) == 0
    assert len(configs) == 4
    after = capsys.readouterr().out
    assert after.split("results")[0] == before.split("results")[0]
    report = json.loads((tmp_path / "results" / "quality-cpu.json").read_text())
    row = report["rows"]["standard, Fashion-MNIST"]
    assert row["command"] == (
        "python run.py train --preset standard --dataset fashion_mnist --train-limit 50000 "
        "--epochs 10"
    )
    assert [each["seed"] for each in row["runs"]] == [0, 1]


def test_a_shorter_run_is_not_taken_for_the_row_s_own(monkeypatch, tmp_path):
    """As after a smoke run."""
    epochs = []

    def fake(answer, starts, checkpoint):
        epochs.append(starts[0].epochs)
        (starts[0].workdir_path() / "evaluation").mkdir(parents=True)
        return result(0.1)

    monkeypatch.setattr(results, "in_process", fake)
    flags = ["--workdir", str(tmp_path), "--output-dir", str(tmp_path / "results")]
    flags += ["--rows", "default", "--seeds", "1"]
    for more in (["--epochs", "3"], [], ["--epochs", "3"], []):
        assert run(Settings, [*flags, *more]) == 0
    assert epochs == [3, 50]


def test_a_run_is_trained_evaluated_and_continued(tiny_config):
    found = results.train_and_evaluate([tiny_config], "latest")
    results.table({"default": {"runs": [found]}})
    assert found["epochs"] == 2
    again = results.train_and_evaluate([tiny_config], "latest")  # only evaluates: it is complete
    assert again["loss"] == found["loss"]


def test_of_several_starts_that_with_the_lowest_validation_loss_is_evaluated(tiny_config):
    starts = [
        replace(tiny_config, seed=seed, workdir=f"{tiny_config.workdir}-{seed}")
        for seed in (4, 5, 6)
    ]
    each = [results.train_and_evaluate([start], "best") for start in starts]
    losses = [one["validation_losses"][0] for one in each]
    assert len(set(losses)) == 3
    first = losses.index(min(losses))
    order = [*starts[first + 1 :], *starts[: first + 1]]  # the best is the last
    found = results.train_and_evaluate(order, "best")
    assert (found["seed"], found["loss"]) == (4 + first, each[first]["loss"])
    assert sorted(found["validation_losses"]) == sorted(losses)
    assert found["seconds"] == pytest.approx(sum(one["seconds"] for one in each))


def test_the_starts_of_a_seed_are_trained_together(monkeypatch, tmp_path):
    seeds = []

    def fake(answer, starts, checkpoint):
        seeds.append([config.seed for config in starts])
        (starts[0].workdir_path() / "evaluation").mkdir(parents=True)
        return result(0.1)

    monkeypatch.setattr(results, "in_process", fake)
    settings = Settings(workdir=tmp_path, rows=())
    row = results.measure_row(settings, "map, best of 4, Fashion-MNIST")
    assert seeds == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert len(row["runs"]) == 3


def test_the_tables_of_the_texts_are_those_of_the_results():
    rows = json.loads((ROOT / "benchmarks/results/quality-cpu.json").read_text())["rows"]
    assert results.table(rows, short=True) in (ROOT / "README.md").read_text()
    whole = (ROOT / "docs/results.md").read_text()
    assert results.table(rows) in whole
    assert beside_published(rows) in whole
    for row in rows.values():
        assert row["command"] in whole
