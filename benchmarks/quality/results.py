"""Trains and evaluates the runs, and makes the tables of their means and half ranges.

What a run gave is kept in its workdir, so that a benchmark that was stopped goes on where it was.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import flaxae
from benchmarks.common import device
from benchmarks.common.report import Finding
from benchmarks.common.spread import spread
from benchmarks.common.workers import in_process
from benchmarks.quality import ROWS, Settings
from benchmarks.quality.published import beside_published
from flaxae.commands.flags import command_line
from flaxae.config.flags import from_flags
from flaxae.data.atomic import write_atomically


def cross_entropy(run: Mapping[str, Any]) -> float:
    """A run's loss without the part that --ssim-weight adds."""
    return run["loss"] - run.get("ssim_loss", 0)


# Title, the values of a run or of its embedding's scores, and decimals.
_COLUMNS = (
    ("BCE, nats a pixel", cross_entropy, 4),
    ("MSE", lambda run: run["mse"], 4),
    ("SSIM", lambda run: run["ssim"], 3),
    ("5-NN, %", lambda run: 100 * run["scores"]["knn_accuracy"]["embedding"], 1),
    ("best PCA, %", lambda run: 100 * run["scores"]["knn_accuracy"]["best_pca"], 1),
    ("pixels, %", lambda run: 100 * run["scores"]["knn_accuracy"]["pixels"], 1),
    ("linear probe, %", lambda run: 100 * run["scores"]["linear_probe_accuracy"]["embedding"], 1),
    ("k-means, %", lambda run: 100 * run["scores"]["kmeans_accuracy"]["embedding"], 1),
)
_SHORT = ("MSE", "SSIM", "5-NN, %", "best PCA, %", "pixels, %")  # in the README


def measure_quality(settings: Settings) -> Finding:
    """Trains, evaluates, and prints the table; raises as `in_process`."""
    rows = {name: measure_row(settings, name) for name in settings.rows}
    print(table(rows))
    print(beside_published(rows))
    losses = {name: spread(list(map(cross_entropy, row["runs"])), 4) for name, row in rows.items()}
    sentence = f"the test losses in nats a pixel are: {', '.join(map(' '.join, losses.items()))}"
    return Finding(device.describe_device(), sentence, {"rows": rows}, {"losses": losses})


def measure_row(settings: Settings, name: str) -> dict[str, Any]:
    """The command of a row, and the results of its seeds."""
    own, seeds, checkpoint, starts = ROWS[name]
    flags = {**own, "epochs": settings.epochs} if settings.epochs else own
    folder = settings.manual_dir if "dataset" in flags else None

    def config(seed: int) -> flaxae.TrainConfig:
        # Shorter runs, as of a smoke run, must not be taken for the row's own.
        length = f"-{settings.epochs}_epochs" if settings.epochs else ""
        folder_name = f"{name.replace(', ', '-').replace(' ', '_')}{length}-{seed}"
        workdir = settings.workdir / folder_name
        more = {"seed": seed, "workdir": str(workdir), "manual_dir": folder and str(folder)}
        return from_flags({**flags, **more})

    runs = []
    for seed in seeds[: settings.seeds]:
        configs = [config(start) for start in range(seed * starts, (seed + 1) * starts)]
        print(configs[0].workdir_path().name, file=sys.stderr, flush=True)
        runs.append({"seed": configs[0].seed, **measure(configs, checkpoint)})
    return {"command": f"python run.py train {command_line(flags)}".strip(), "runs": runs}


def measure(configs: Sequence[flaxae.TrainConfig], checkpoint: str) -> dict[str, Any]:
    """The runs in a process of their own, because their model decides how JAX uses the cores."""
    kept = configs[0].workdir_path() / "evaluation" / "quality.json"
    if not kept.exists():
        found = in_process(train_and_evaluate, configs, checkpoint)
        write_atomically(kept, json.dumps(found).encode())
    return json.loads(kept.read_text())


def train_and_evaluate(configs: Sequence[flaxae.TrainConfig], checkpoint: str) -> dict[str, Any]:
    """The test split's quality, and that of its embedding; "best" is by validation loss.

    Of several runs, only the one with the lowest validation loss is evaluated. The seconds are
    those of all.
    """
    flaxae.configure_jax(configs[0].model)
    trained = [flaxae.train(config, verbose=True) for config in configs]
    chosen = min(trained, key=lowest_validation_loss).config
    run = flaxae.load(chosen.workdir_path(), checkpoint)
    embedding = run.evaluate_embedding("test")
    (configs[0].workdir_path() / "evaluation").mkdir(exist_ok=True)
    return run.evaluate("test") | {
        "seed": chosen.seed,
        "validation_losses": [lowest_validation_loss(each) for each in trained],
        "epoch": run.epoch,
        "epochs": len(run.history),
        "seconds": sum(record["seconds"] for each in trained for record in each.history),
        "dead_units": sum(run.dead_units("validation").values()),
        **{name: getattr(embedding, name) for name in ("dimensions", "best_pca_dimensions")},
        "scores": embedding.scores,
        "processor": device.describe_device()["processor"],  # rows may be of several machines
    }


def lowest_validation_loss(run: flaxae.Run) -> float:
    """That of the best checkpoint."""
    return min(record["validation_loss"] for record in run.history)


def table(rows: Mapping[str, Mapping[str, Any]], short: bool = False) -> str:
    """The table of docs/results.md, or the README's shorter one, in Markdown."""
    columns = [column for column in _COLUMNS if not short or column[0] in _SHORT]
    titles = ["run (seeds)", "numbers", *(title for title, _, _ in columns), "minutes"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name, row in rows.items():
        runs = row["runs"]
        cells = [spread([value(run) for run in runs], n) for _, value, n in columns]
        minutes = f"{statistics.median(run['seconds'] for run in runs) / 60:.1f}"
        cells = [f"{name} ({len(runs)})", str(runs[0]["dimensions"]), *cells, minutes]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
