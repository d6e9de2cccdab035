"""Trains and evaluates the runs, and prints two Markdown tables of means and half ranges."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import device
from benchmarks.common.report import Finding
from benchmarks.quality.settings import EPOCHS, Settings
from flaxae.errors import RunError

RUN = Path(__file__).parents[2] / "run.py"
RECONSTRUCTION = """\
| dataset, epochs | model | test loss, nats a pixel | RMSE | PSNR, dB |
|---|---|---|---|---|"""
EMBEDDING = """\
| dataset | model, size | kNN: embedding | PCA | pixels | probe: embedding | PCA | pixels | trust |
|---|---|---|---|---|---|---|---|---|"""


def measure_quality(settings: Settings) -> Finding:
    """Trains, evaluates, and prints both tables."""
    results = {
        (dataset, model): [train_and_evaluate(settings, dataset, model, s) for s in settings.seeds]
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


def train_and_evaluate(settings: Settings, dataset: str, model: str, seed: int) -> dict[str, Any]:
    """The last line of `evaluate` for one run, which is trained first as far as necessary."""
    workdir = str(settings.workdir / f"{model}-{dataset}-{seed}")
    flags = ["--model", model, "--dataset", dataset, "--epochs", str(EPOCHS[dataset])]
    if settings.manual_dir and dataset != "mnist_5k":
        flags += ["--manual-dir", str(settings.manual_dir)]
    run("train", "--workdir", workdir, *flags, "--seed", str(seed))
    return json.loads(run("evaluate", "--workdir", workdir).splitlines()[-1])


def run(*arguments: str) -> str:
    """The standard output of a command of flaxae.

    Raises:
        RunError: the command fails.
    """
    print(" ".join(arguments), file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, str(RUN), *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RunError(f"{' '.join(arguments)} ended with status {done.returncode}")
    return done.stdout


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
