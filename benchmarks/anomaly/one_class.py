"""One class against the rest: trains on one class, and scores the test images of all.

The dataset's own splits are used: of Fashion-MNIST's 6,000 images of a class about 5,500 train, and
about 500, of the last 5,000 training images, choose the checkpoint, give `combined` its units and
set the threshold. Baselines are fitted to the same training images; the PCA's size is chosen on the
held-out ones. Published protocols train on all 6,000.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

import flaxae
from benchmarks.anomaly import Settings
from benchmarks.anomaly.kept import kept
from flaxae.config.flags import from_flags
from flaxae.data.splits import in_classes
from flaxae.evaluation.scoring.baselines import baseline_scores
from flaxae.evaluation.scoring.detection import detection
from flaxae.evaluation.scoring.threshold import observed_rate


def measure_class(settings: Settings, name: str) -> dict[str, Any]:
    """What baselines and every seed make of one normal class."""
    configs = [config_of(settings, name, seed) for seed in range(settings.seeds)]
    path = settings.workdir / f"{settings.dataset}-{name}-baselines.json"
    baselines = kept(path, functools.partial(measure_baselines, configs[0], name))
    runs = []
    for config in configs:
        path = config.workdir_path() / "evaluation" / "anomaly.json"
        runs.append(kept(path, functools.partial(measure_run, config, name)))
    return {"baselines": baselines, "runs": runs}


def config_of(settings: Settings, name: str, seed: int) -> flaxae.TrainConfig:
    """The config of a run."""
    flags = {"dataset": settings.dataset, "classes": (name,), "seed": seed, **settings.flags}
    flags["epochs"] = settings.epochs
    workdir: Path = settings.workdir / f"{settings.dataset}-{name}-{seed}"
    folder = None if settings.manual_dir is None else str(settings.manual_dir)
    return from_flags({**flags, "workdir": str(workdir), "manual_dir": folder})


def measure_baselines(config: flaxae.TrainConfig, name: str) -> dict[str, Any]:
    """The detection of every baseline."""
    from flaxae.data.sources import open_source
    from flaxae.data.splits import keep_classes

    splits = keep_classes(open_source(config.data).splits(), (name,))
    test = splits["test"]
    anomalous = ~in_classes(test, (name,), "--classes")
    held_out = splits["validation"].images
    found = baseline_scores(splits["train"].images, held_out, test.images)
    return {key.partition(" of ")[0]: figures(values, anomalous) for key, values in found.items()}


def measure_run(config: flaxae.TrainConfig, name: str) -> dict[str, Any]:
    """Trains, and gives the detection of every score, and the false alarms of the default one."""
    run = flaxae.train(config, verbose=True)
    test = run.splits["test"]
    anomalous = ~in_classes(test, (name,), "--classes")
    scores = run.score(test._replace(labels=None, class_names=()))
    found = {key: figures(values, anomalous) for key, values in scores.every.items()}
    limit, normal = scores.threshold, scores.values[~anomalous]
    above = None if limit.value is None else int((normal > limit.value).sum())
    return {
        "detection": found,
        "seconds": sum(record["seconds"] for record in run.history),
        "held_out_images": limit.images,
        "promised": None if limit.rate is None else limit.rate._asdict(),
        "false_alarms": None if above is None else observed_rate(above, len(normal))._asdict(),
        "detected": None
        if limit.value is None
        else float((scores.values > limit.value)[anomalous].mean()),
    }


def figures(values: np.ndarray, anomalous: np.ndarray) -> dict[str, float]:
    """What labels say of scores, in percent."""
    found = detection(values, anomalous)
    assert found is not None, "test has both kinds"
    return {key: 100 * value for key, value in found._asdict().items()}
