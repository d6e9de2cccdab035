import json

from benchmarks.common.command import run
from benchmarks.quality import EPOCHS, MODELS, Settings, results


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
    configs = []

    def fake(answer, config):
        assert answer is results.train_and_evaluate
        configs.append(config)
        return result(0.1)

    monkeypatch.setattr(results, "in_process", fake)
    flags = ["--workdir", str(tmp_path), "--manual-dir", "idx", "--seeds", "7"]
    assert run(Settings, [*flags, "--output-dir", str(tmp_path / "results")]) == 0
    runs = [(config.data.dataset, config.data.manual_dir) for config in configs]
    assert runs == [("mnist_5k", None)] * 2 + [("fashion_mnist", "idx")] * 2
    assert [config.model.name for config in configs] == [*MODELS] * 2
    assert [config.epochs for config in configs] == [50, 50, 10, 10]
    assert {config.seed for config in configs} == {7}
    assert configs[0].workdir == str(tmp_path / "convolutional-mnist_5k-7")
    out = capsys.readouterr().out.splitlines()
    assert set(json.loads(out[-1])["runs"]) == {
        f"{model} {data}" for model in MODELS for data in EPOCHS
    }


def test_a_run_is_trained_evaluated_and_continued(tiny_config):
    found = results.train_and_evaluate(tiny_config)
    assert {"loss", "rmse", "psnr", "ssim"} < set(found)
    results.reconstruction_row("mnist_5k", "convolutional", [found])
    results.embedding_row("mnist_5k", "convolutional", [found])
    again = results.train_and_evaluate(tiny_config)  # only evaluates, because it is complete
    assert again["loss"] == found["loss"]
