"""`load`: from a run's folder to a `Run`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxae.api.run import Run, Splits
from flaxae.config import TrainConfig, parse_checkpoint, run_folder
from flaxae.data import is_path
from flaxae.data.file_names import printable
from flaxae.data.sources import open_source
from flaxae.data.sources.array import ArraySource
from flaxae.data.splits import keep_classes, limit_training
from flaxae.errors import InputError
from flaxae.models.autoencoder import Autoencoder
from flaxae.runs.checkpoint_folder import CheckpointFolder, Restored
from flaxae.runs.disk_faults import warn
from flaxae.runs.metrics_file import read_lines, whole_history
from flaxae.runs.profile import Profile
from flaxae.runs.workdir import (
    CHECKPOINTS,
    METRICS,
    DatasetInfo,
    change,
    describe,
    has_saved,
    read_config,
    read_dataset_info,
)
from flaxae.training.state import create_train_state, make_optimizer, make_rngs


def load(
    workdir: str | Path, checkpoint: str | int = "best", images: Any = None, labels: Any = None
) -> Run:
    """Opens the run in `workdir`; it may be training at the same time.

    Args:
        workdir: Folder of a run of `train`.
        checkpoint: "best" (by validation loss), "latest", or the number of a step.
        images: The images that the run was trained on, if they came from Python. Needed only for
            methods that are asked for a split.
        labels: Their labels.

    Raises:
        InputError: the folder holds no run, or no such checkpoint, or the run's images are others.

    Example:
        >>> flaxae.load(run.workdir, "latest").epoch
        2
    """
    folder = run_folder(workdir)
    checkpoint = parse_checkpoint(checkpoint)
    if images is None:
        if labels is not None:
            raise InputError("labels came without images; give both, or neither")
        return open_run(folder, checkpoint, None, None)
    dataset = read_config(folder).data.dataset
    if dataset != ArraySource.name:
        raise InputError(f"{folder} was trained on the dataset {dataset}; leave images out")
    source = ArraySource(images, labels)
    before = read_dataset_info(folder)
    if before is not None and before.digest != source.digest():
        raise InputError(
            f"{folder} was trained on other images (sha256 {before.digest}, now "
            f"{source.digest()}); give those that it was trained on"
        )
    names = source.splits()["train"].class_names
    if before is not None and before.class_names and names and names != before.class_names:
        known = " ".join(map(printable, before.class_names[:5]))
        now = " ".join(map(printable, names[:5]))
        raise InputError(
            f"{folder} was trained on other labels ({len(before.class_names):,} classes, {known} "
            f"first; now {len(names):,}, {now} first); give those that it was trained on"
        )
    return open_run(folder, checkpoint, source.splits, None)


def open_run(
    workdir: Path,
    checkpoint: str | int,
    splits: Callable[[], Splits] | None,
    profile: Profile | None,
    restored: Restored | None = None,
) -> Run:
    """The `Run` in a folder; `splits` is where its dataset comes from, if not from the config.

    `restored` is the state if it is known already, and need not be read from a checkpoint.
    """
    config = read_config(workdir)
    kept = read_dataset_info(workdir)

    def limited_splits() -> Splits:
        limit, classes = config.data.train_limit, config.data.classes
        if splits is not None:
            return limit_training(keep_classes(splits(), classes), limit)
        _require_there(workdir, config.data.dataset)
        source = open_source(config.data)
        found = limit_training(keep_classes(source.splits(), classes), limit)
        if kept is not None:
            _require_same(workdir, kept, describe(kept.name, found, source.digest()))
        return found

    # A run of flaxae 0.1 keeps nothing of its dataset, so the dataset has to be read.
    dataset = kept or describe(config.data.dataset, limited_splits(), None)
    model = config.model.build(config.compute, dataset.image_shape)
    restored = restored or _restore(workdir, config, model, checkpoint, dataset.digest)
    return Run(workdir, config, dataset, model, restored, limited_splits, profile)


def _require_there(workdir: Path, dataset: str) -> None:
    """Raises InputError if the run's images were moved or deleted."""
    if is_path(dataset) and not Path(dataset).exists():
        raise InputError(
            f"{workdir} was trained on {printable(dataset)}, which does not exist any more; put "
            "the images back there, or give --images to look at others"
        )


def _require_same(workdir: Path, kept: DatasetInfo, now: DatasetInfo) -> None:
    """Raises InputError if the run's images have changed since it was trained."""
    # Without a digest, nothing is known of the images.
    same = kept.digest is None or (kept.digest, kept.class_names) == (now.digest, now.class_names)
    if not same or kept.image_shape != now.image_shape:
        raise InputError(
            f"{workdir} was trained on other images ({change(kept, now)}); restore them, train "
            "again in another --workdir, or give --images to look at others"
        )


def _restore(
    workdir: Path,
    config: TrainConfig,
    model: Autoencoder,
    checkpoint: str | int,
    digest: str | None,
) -> Restored:
    # The schedule's length has no effect on the tree of the optimizer's state.
    init = partial(create_train_state, model, make_optimizer(config.optimizer, steps=1))
    # Only shapes, because compiling the initial weights takes seconds and they are not used.
    shapes = jax.eval_shape(init, make_rngs(config.seed).init)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    folder = workdir / CHECKPOINTS
    checkpoints = CheckpointFolder(folder.absolute(), config, digest)
    restored = checkpoints.restore(state, checkpoint)
    if restored is None:
        lost = has_saved(workdir)
        what = "has lost its checkpoints" if lost else "holds no checkpoint yet"
        hint = "put one back from a copy, or train again with --restart" if lost else None
        raise InputError(f"{workdir} {what}; {hint or 'train for an epoch first'}")
    copy = checkpoints.history()  # all epochs, and not only those of this checkpoint
    if copy is None:
        records, fault = read_lines(workdir)
        if fault is not None:
            warn(f"{METRICS} is damaged: {fault}; its epoch is left out")
        return restored._replace(history=records)
    history, remark = whole_history(workdir, len(copy), copy)
    if remark is not None:
        warn(remark)
    return restored._replace(history=history)
