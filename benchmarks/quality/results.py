"""Trains and evaluates the runs, and prints two Markdown tables of means and half ranges."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flaxae
from benchmarks.common import device
from benchmarks.common.report import Finding
from benchmarks.common.workers import in_process
from benchmarks.quality import EPOCHS, Settings
from flaxae.models import MODELS

RECONSTRUCTION = """\
| dataset, epochs | model | test loss, nats a pixel | RMSE | PSNR, dB |
|---|---|---|---|---|"""
EMBEDDING = """\
| dataset | model, size | kNN: embedding | PCA | pixels | probe: embedding | PCA | pixels | trust |
|---|---|---|---|---|---|---|---|---|"""


def measure_quality(settings: Settings) -> Finding:
    """Trains, evaluates, and prints both tables; raises as `in_process`."""
    results = {
        (dataset, model): [measure(settings, dataset, model, seed) for seed in settings.seeds]
        for dataset in settings.datasets
        for model in settings.models
    }
    for header, row in ((RECONSTRUCTION, reconstruction_row), (EMBEDDING, embedding_row)):
        print(header)
        for pair, same in results.items():
            print(row(*pair, same))
    runs = {f"{model} {dataset}": same for (dataset, model), same in results.items()}
    losses = [f"{name} {spread([r['loss'] for r in same], 4)}" for name, same in runs.items()]
    sentence = f"the test losses in nats a pixel are: {', '.join(losses)}"
    return Finding(device.describe_device(), sentence, {"runs": runs}, {"runs": runs})


def measure(settings: Settings, dataset: str, model: str, seed: int) -> dict[str, Any]:
    """One run in a process of its own, because its model decides how JAX uses the cores."""
    folder = None if dataset == "mnist_5k" else settings.manual_dir
    config = flaxae.TrainConfig(
        model=MODELS[model](),
        data=flaxae.DataConfig(dataset=dataset, manual_dir=folder and str(folder)),
        workdir=str(settings.workdir / f"{model}-{dataset}-{seed}"),
        epochs=EPOCHS[dataset],
        seed=seed,
    )
    print(Path(config.workdir or "").name, file=sys.stderr, flush=True)
    return in_process(train_and_evaluate, config)


def train_and_evaluate(config: flaxae.TrainConfig) -> dict[str, Any]:
    """The test split's quality, and that of its embedding, of a run that continues if it exists."""
    flaxae.configure_jax(config.model)
    run = flaxae.train(config, verbose=True)
    return run.evaluate("test") | {"embedding": run.evaluate_embedding("test")._asdict()}


def reconstruction_row(dataset: str, model: str, results: Sequence[dict[str, Any]]) -> str:
    """One line of the first table."""
    digits = {"loss": 4, "rmse": 4, "psnr": 2}
    cells = [spread([r[name] for r in results], each) for name, each in digits.items()]
    return f"| {dataset}, {EPOCHS[dataset]} | {model} | {' | '.join(cells)} |"


def embedding_row(dataset: str, model: str, results: Sequence[dict[str, Any]]) -> str:
    """One line of the second table, in percent."""
    embeddings = [r["embedding"] for r in results]
    kinds = [("knn_accuracy", each) for each in ("embedding", "pca", "pixels")]
    kinds += [("linear_probe_accuracy", each) for _, each in kinds]
    kinds += [("trustworthiness", "embedding")]
    cells = [spread([100 * e[measure][kind] for e in embeddings], 1) for measure, kind in kinds]
    return f"| {dataset} | {model}, {embeddings[0]['dimensions']} | {' | '.join(cells)} |"


def spread(values: Sequence[float], digits: int) -> str:
    """The mean, and half the range where it is not 0."""
    mean, half = statistics.fmean(values), (max(values) - min(values)) / 2
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if half > 0 else "")
