import json

from benchmarks.common.command import run
from benchmarks.quality import results
from benchmarks.quality.settings import EPOCHS, MODELS, Settings


def result(loss):
    scores = {"embedding": loss, "pca": 0.5, "pixels": 0.25}
    return {
        "loss": loss,
        "rmse": 0.1,
        "psnr": 20.0,
        "embedding": {
            "dimensions": 128,
            "knn_accuracy": scores,
            "linear_probe_accuracy": scores,
            "trustworthiness": {"embedding": 1.0},
        },
    }


def test_rows_have_means_and_half_ranges():
    same = [result(0.1), result(0.2), result(0.6)]
    row = results.reconstruction_row("mnist_5k", "convolutional", same)
    assert row == "| mnist_5k, 50 | convolutional | 0.3000 ± 0.2500 | 0.1000 | 20.00 |"
    row = results.embedding_row("mnist_5k", "convolutional", same)
    assert row == (
        "| mnist_5k | convolutional, 128 | 30.0 ± 25.0 | 50.0 | 25.0 | 30.0 ± 25.0 | 50.0 | 25.0 "
        "| 100.0 |"
    )


def test_every_run_is_trained_then_evaluated(monkeypatch, capsys, tmp_path):
    commands = []

    def fake(*arguments):
        commands.append(arguments)
        return "a table\n" + json.dumps(result(0.1))

    monkeypatch.setattr(results, "run", fake)
    flags = ["--workdir", str(tmp_path), "--manual-dir", "idx", "--seeds", "7"]
    assert run(Settings, [*flags, "--output-dir", str(tmp_path / "results")]) == 0
    assert [command[0] for command in commands] == ["train", "evaluate"] * 4
    assert "--manual-dir" not in commands[0]
    assert commands[4][-4:] == ("--manual-dir", "idx", "--seed", "7")
    out = capsys.readouterr().out.splitlines()
    assert set(json.loads(out[-1])["runs"]) == {
        f"{model} {data}" for model in MODELS for data in EPOCHS
    }
