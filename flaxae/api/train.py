"""`train`: from a config to a trained `Run`."""

import dataclasses
import shutil
import signal
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.training.train_state import TrainState

from flaxae.api.load import open_run
from flaxae.api.run import Run
from flaxae.api.together import claim_together, require_alike, restore_together, share_signals
from flaxae.config import TrainConfig
from flaxae.data import is_path
from flaxae.data.sources import FROM_PYTHON, Source, open_source, refuse_unused
from flaxae.data.sources.array import ArraySource
from flaxae.data.splits import SPLITS, Split, keep_classes, limit_training
from flaxae.errors import InputError
from flaxae.evaluation.scoring import WORST_PIXELS
from flaxae.export.outputs import require_outside
from flaxae.models.autoencoder import Autoencoder
from flaxae.report.progress import TrainingDisplay
from flaxae.runs.checkpoint_folder import NoneWhole, Progress, Restored
from flaxae.runs.checkpoints import Checkpoints, open_checkpoints
from flaxae.runs.disk import Disk
from flaxae.runs.disk_faults import ends_the_run, warn
from flaxae.runs.events import Events
from flaxae.runs.metrics_file import MetricsFile, whole_history
from flaxae.runs.pictures import Pictures
from flaxae.runs.profile import Profile
from flaxae.runs.stop_signal import StopSignal
from flaxae.runs.workdir import (
    CHECKPOINTS,
    PROFILE,
    describe,
    has_saved,
    mark_saved,
)
from flaxae.training import processes
from flaxae.training.devices import Placement, place
from flaxae.training.epoch import Trainer
from flaxae.training.loop import Record, Task, View, fit
from flaxae.training.memory import estimate, require_memory, usable_memory
from flaxae.training.schedules import make_schedule
from flaxae.training.state import create_train_state, make_optimizer, make_rngs
from flaxae.training.validation import make_eval_step


def train(
    config: TrainConfig | None = None,
    images: Any = None,
    labels: Any = None,
    *,
    callbacks: Sequence[Any] = (),
    verbose: bool = False,
    restart: bool = False,
) -> Run:
    """Trains an autoencoder, or continues the run in `config.workdir`; returns its best weights.

    Args:
        config: What to train; None: the defaults.
        images: None: the dataset that `config.data` names. Else an array [N, H, W] or
            [N, H, W, C], uint8 or floats in 0..1 (which are rounded to 8 bits). It is split
            80 / 10 / 10 by a hash of each image's pixels, so that duplicates stay together. Or a
            mapping with the keys train, validation and test, whose values are such arrays, or
            `Split`s, which may have targets. Or the path of a folder of images or of an array
            file, as `config.data.dataset` takes it.
        labels: Of `images`, in the same form: whole numbers from 0, or names. Only evaluations use
            them.
        callbacks: Objects with methods of `Callback`. They are called after flaxae's own.
        verbose: Print what the command `train` prints.
        restart: Rename the folder of a run that `config.workdir` holds, and start anew.

    Without `config.workdir`, the run of an array is in a temporary folder that is deleted with its
    `Run`. The call leaves JAX's configuration, signal handlers, logging and the working
    directory as they were, and works outside the main thread. Ctrl-C stops training after the next
    step and raises KeyboardInterrupt. With a workdir, a checkpoint is saved before, and the same
    call continues there.

    Raises:
        InputError: the config, the images or the workdir cannot be used.
        RunError: the loss is NaN or infinite, or something cannot be written.
        KeyboardInterrupt: after Ctrl-C.

    Example:
        >>> import flaxae, numpy
        >>> images = numpy.random.default_rng(0).integers(0, 256, (60, 8, 8), numpy.uint8)
        >>> model = flaxae.ConvolutionalConfig(filters=(4,))
        >>> run = flaxae.train(flaxae.TrainConfig(model=model, epochs=2), images)
        >>> [record["epoch"] for record in run.history]
        [1, 2]
    """
    config = TrainConfig() if config is None else config
    if not isinstance(config, TrainConfig):
        raise InputError(f"config is a {type(config).__name__}; expected a flaxae.TrainConfig")
    _refuse_silent(callbacks)
    if isinstance(images, (str, Path)):
        if labels is not None:
            raise InputError("labels came with a path; give them as the config's data.labels")
        config, images = _of_path(config, str(images)), None
    config = config.with_absolute_paths()
    source = _source(config, images, labels)
    if images is not None:
        data = dataclasses.replace(config.data, dataset=source.name)
        config = dataclasses.replace(config, data=data)
    if images is None or config.workdir is not None:
        return _train(config, config.workdir_path(), source, callbacks, verbose, restart)
    folder = Path(tempfile.mkdtemp(prefix="flaxae-"))
    try:
        run = _train(config, folder, source, callbacks, verbose, restart=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    run.folder = _Folder()  # copies of the run share it
    weakref.finalize(run.folder, shutil.rmtree, folder, ignore_errors=True)
    return run


class _Folder:
    """Deletes a temporary folder when nothing refers to it any more."""


def _refuse_silent(callbacks: Sequence[Any]) -> None:
    events = ("on_start", "on_call", "on_validation", "on_epoch", "on_end")
    for callback in callbacks:
        if not any(hasattr(callback, event) for event in events):
            raise InputError(
                f"the callback {callback!r} has none of the methods {', '.join(events)}"
            )


def _train(
    config: TrainConfig,
    workdir: Path,
    source: Source,
    callbacks: Sequence[Any],
    verbose: bool,
    restart: bool,
) -> Run:
    if is_path(config.data.dataset):
        require_outside(workdir, config.data.dataset, config.data.targets, flag="--workdir")
    with processes.first_alone("the preparation of the images"):
        splits = keep_classes(source.splits(), config.data.classes)
        splits = limit_training(splits, config.data.train_limit)
    absent = [name for name in SPLITS if name not in splits]
    if absent:
        raise InputError(f"the source {source.name} gave no split {absent[0]}")
    shape = splits["train"].image_shape
    model = config.model.build(config.compute, shape)
    placement = place(
        config.model, config.compute, config.device, shape, single_steps=config.profile
    )
    count = len(splits["train"].images)
    config.optimizer.refuse_too_many_steps(config.epochs, count)
    needed = estimate(model, config.optimizer, shape, count, placement)
    require_memory(needed, config.model, usable_memory())
    interrupt = StopSignal(signal.SIGINT)
    profile = Profile(workdir / PROFILE) if config.profile else None
    dataset, metrics = describe(source.name, splits, source.digest()), MetricsFile(workdir)
    require_alike(config, dataset)

    def on_saved(history: Sequence[Record]) -> None:
        mark_saved(workdir)
        metrics.write(history)

    with (
        claim_together(workdir, config, dataset, restart) as config,
        open_checkpoints(
            workdir / CHECKPOINTS,
            config,
            writing=processes.is_first(),
            digest=dataset.digest,
            on_saved=on_saved,
        ) as checkpoints,
    ):
        pictures = Pictures(workdir)
        own: list[Any] = [
            interrupt,
            profile,
            Disk(workdir, verbose),
            pictures,
            TrainingDisplay() if verbose else None,
            Events(workdir, pictures),
            checkpoints,
        ]
        # First, so that they are the last to end: a signal during the last save is theirs too.
        stops = [callback for callback in callbacks if isinstance(callback, StopSignal)]
        callbacks = [callback for callback in callbacks if callback not in stops]
        listeners = [*stops, *(callback for callback in own if callback is not None)]
        callbacks = [*listeners, *callbacks]
        if not processes.is_first():  # which alone writes
            callbacks = [each for each in callbacks if getattr(each, "everywhere", False)]
        view = _fit(config, workdir, splits, model, placement, checkpoints, callbacks)
    share_signals([interrupt, *stops])
    if interrupt.received is not None:
        raise KeyboardInterrupt
    run = open_run(workdir, "best", lambda: splits, profile, _best_in_memory(view))
    if config.scoring:
        from flaxae.api.score import reference  # scikit-learn, which training does not need

        reference(run, WORST_PIXELS)
    return run


def _best_in_memory(view: View) -> Restored | None:
    """The final state, if it is the best one, so that it need not be read from disk."""
    losses = [record["validation_loss"] for record in view.history]
    if view.sums.steps or not losses or losses[-1] > min(losses):
        return None
    # On the default device, whatever devices training used.
    state = jax.tree.map(jnp.asarray, jax.device_get(processes.local(view.state)))
    return Restored(state, Progress(view.epoch), [dict(record) for record in view.history])


def _of_path(config: TrainConfig, path: str) -> TrainConfig:
    """The config, with the images of a path as its dataset."""
    dataset = path if is_path(path) else f"./{path}"
    return dataclasses.replace(config, data=dataclasses.replace(config.data, dataset=dataset))


def _source(config: TrainConfig, images: Any, labels: Any) -> Source:
    if images is not None:
        refuse_unused(config.data, FROM_PYTHON)
        return ArraySource(images, labels)
    if labels is not None:
        raise InputError("labels came without images; give both, or neither")
    return open_source(config.data)


def _fit(
    config: TrainConfig,
    workdir: Path,
    splits: Mapping[str, Split],
    model: Autoencoder,
    placement: Placement,
    checkpoints: Checkpoints,
    callbacks: Sequence[Any],
) -> View:
    """Puts the parts together: restores or initializes the state, and runs the loop."""
    split, optimizer = splits["train"], config.optimizer
    rngs = make_rngs(config.seed)
    trainer = Trainer(
        split,
        config.objective,
        placement,
        rngs.train,
        seed=config.seed,
        batch_size=optimizer.batch_size,
        data_on_device=config.device.data_on_device,
    )
    steps = trainer.steps_per_epoch * (optimizer.schedule_epochs or config.epochs)
    tx = make_optimizer(optimizer, steps)
    state = create_train_state(model, tx, rngs.init)
    restored = restore_together(checkpoints, state, lambda: _restore(workdir, checkpoints, state))
    progress, history = restored.progress, restored.history or []
    state = placement.replicate(restored.state)
    evaluator = make_eval_step(config.objective, placement, measures=("mse",))
    task = Task(
        config,
        workdir,
        splits,
        model,
        rngs,
        trainer,
        evaluator,
        make_schedule(optimizer, steps),
        config.epochs,
    )
    return fit(task, state, progress.epoch, progress.sums, history, callbacks)


def _restore(workdir: Path, checkpoints: Checkpoints, state: TrainState) -> Restored:
    """The newest checkpoint, or the state that training begins with.

    Raises:
        InputError: the run has had checkpoints, and none is left.
    """
    once = has_saved(workdir)
    try:
        restored = checkpoints.restore(state)
        lost = f"{workdir / CHECKPOINTS} holds none any more" if restored is None and once else None
    except NoneWhole as error:
        restored, lost = None, str(error)
    if restored is not None:
        history, remark = whole_history(workdir, restored.progress.epoch, restored.history)
        if remark is not None:
            warn(remark)
        with ends_the_run(str(workdir)):
            mark_saved(workdir)  # an earlier version has not, and the note may be gone
            MetricsFile(workdir).write(history)
        return restored._replace(history=history)
    if lost is not None and once:
        raise InputError(
            f"{workdir} holds a run that has had checkpoints: {lost}; put one back from a copy, or "
            "give --restart, which renames the folder of this run and starts anew"
        )
    if lost is not None:
        checkpoints.move_away()
    with ends_the_run(str(workdir)):
        MetricsFile(workdir).write([])
    return Restored(state, Progress(epoch=0), [])
