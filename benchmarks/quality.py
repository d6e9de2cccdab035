"""The README's table of embedding quality: trains models and evaluates them on the test split.

    python benchmarks/quality.py --workdir runs/quality --epochs 50

Runs that are there already go on, or are only evaluated. Prints a Markdown table of means and
half ranges over the seeds; the last line is one JSON object with every number.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[1] / "run.py"
MODELS, DATASETS = ("convolutional", "fully_connected"), ("mnist_5k", "fashion_mnist")
HEADER = """\
| dataset | model | kNN: embedding | PCA | pixels | probe: embedding | PCA | pixels | trust |
|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/quality"))
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--datasets", nargs="+", default=DATASETS)
    options = parser.parse_args()
    results = []
    for dataset in options.datasets:
        for model in options.models:
            for seed in options.seeds:
                workdir = options.workdir / f"{model}-{dataset}-{seed}"
                result = train_and_evaluate(workdir, model, dataset, seed, options.epochs)
                results.append({"dataset": dataset, "model": model, "seed": seed} | result)
    print(HEADER)
    for dataset in options.datasets:
        for model in options.models:
            print(table_row(dataset, model, results))
    print(json.dumps(results))


def train_and_evaluate(
    workdir: Path, model: str, dataset: str, seed: int, epochs: int
) -> dict[str, object]:
    """The last line of `evaluate` for one run, trained first as far as it is not yet."""
    flags = ["--model", model, "--dataset", dataset, "--seed", str(seed), "--epochs", str(epochs)]
    run("train", "--workdir", str(workdir), *flags)
    return json.loads(run("evaluate", "--workdir", str(workdir)).splitlines()[-1])


def run(*arguments: str) -> str:
    """What a command prints; its errors go to ours."""
    print(" ".join(arguments), file=sys.stderr, flush=True)
    command = [sys.executable, str(RUN), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def table_row(dataset: str, model: str, results: list[dict]) -> str:
    """One line of the table: means over the seeds, and half the range where it is not 0."""
    same = [r["embedding"] for r in results if (r["dataset"], r["model"]) == (dataset, model)]
    cells = [
        spread([e[measure][kind] for e in same])
        for measure in ("knn_accuracy", "linear_probe_accuracy")
        for kind in ("embedding", "pca", "pixels")
    ]
    trust = spread([e["trustworthiness"]["embedding"] for e in same])
    return f"| {dataset} | {model}, {same[0]['dimensions']} | {' | '.join([*cells, trust])} |"


def spread(values: list[float]) -> str:
    """Percent: the mean, and half the range."""
    mean, half = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{100 * mean:.1f}" + (f" ± {100 * half:.1f}" if half > 0 else "")


if __name__ == "__main__":
    main()
