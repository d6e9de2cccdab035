"""The README's tables of results: trains models and evaluates them on their test splits.

    python -m benchmarks.quality --manual-dir FOLDER_OF_FASHION_MNIST

Runs that are there already go on, or are only evaluated. Prints two Markdown tables of means and
half ranges over the seeds; the last line is one JSON object with every number.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RUN = Path(__file__).parents[2] / "run.py"
MODELS = ("convolutional", "fully_connected")
EPOCHS = {"mnist_5k": 50, "fashion_mnist": 10}  # the default, and about three times as many steps
RECONSTRUCTION = """\
| dataset, epochs | model | test loss, nats a pixel | RMSE | PSNR, dB |
|---|---|---|---|---|"""
EMBEDDING = """\
| dataset | model, size | kNN: embedding | PCA | pixels | probe: embedding | PCA | pixels | trust |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/results"))
    parser.add_argument("--manual-dir", type=Path, help="as for train: Fashion-MNIST's IDX files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--datasets", nargs="+", default=list(EPOCHS))
    options = parser.parse_args()
    pairs = [(dataset, model) for dataset in options.datasets for model in options.models]
    results = {
        pair: [train_and_evaluate(options, *pair, seed) for seed in options.seeds] for pair in pairs
    }
    print(RECONSTRUCTION)
    for pair, same in results.items():
        print(reconstruction_row(*pair, same))
    print(EMBEDDING)
    for pair, same in results.items():
        print(embedding_row(*pair, same))
    print(json.dumps({f"{model} {dataset}": same for (dataset, model), same in results.items()}))


def train_and_evaluate(
    options: argparse.Namespace, dataset: str, model: str, seed: int
) -> dict[str, Any]:
    """The last line of `evaluate` for one run, trained first as far as it is not yet."""
    workdir = str(options.workdir / f"{model}-{dataset}-{seed}")
    flags = ["--model", model, "--dataset", dataset, "--epochs", str(EPOCHS[dataset])]
    if options.manual_dir and dataset != "mnist_5k":
        flags += ["--manual-dir", str(options.manual_dir)]
    run("train", "--workdir", workdir, *flags, "--seed", str(seed))
    return json.loads(run("evaluate", "--workdir", workdir).splitlines()[-1])


def run(*arguments: str) -> str:
    """What a command prints; its errors go to ours."""
    print(" ".join(arguments), file=sys.stderr, flush=True)
    command = [sys.executable, str(RUN), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def reconstruction_row(dataset: str, model: str, results: list[dict[str, Any]]) -> str:
    """One line of the first table."""
    numbers = {"loss": 4, "rmse": 4, "psnr": 2}
    cells = [spread([r[name] for r in results], digits) for name, digits in numbers.items()]
    return f"| {dataset}, {EPOCHS[dataset]} | {model} | {' | '.join(cells)} |"


def embedding_row(dataset: str, model: str, results: list[dict[str, Any]]) -> str:
    """One line of the second table, in percent."""
    embeddings = [r["embedding"] for r in results]
    cells = [
        spread([100 * e[measure][kind] for e in embeddings], 1)
        for measure in ("knn_accuracy", "linear_probe_accuracy")
        for kind in ("embedding", "pca", "pixels")
    ]
    trust = spread([100 * e["trustworthiness"]["embedding"] for e in embeddings], 1)
    dimensions = embeddings[0]["dimensions"]
    return f"| {dataset} | {model}, {dimensions} | {' | '.join([*cells, trust])} |"


def spread(values: list[float], digits: int) -> str:
    """The mean, and half the range where it is not 0."""
    mean, half = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if half > 0 else "")


if __name__ == "__main__":
    main()
