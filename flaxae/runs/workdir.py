"""The folder of a run: one writer at a time, and files that are complete or absent."""

import contextlib
import fcntl
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

import msgspec

from flaxae.config import TrainConfig
from flaxae.config.serialization import differences, from_json, to_json
from flaxae.data import seal
from flaxae.data.atomic import write_atomically
from flaxae.data.file_names import printable
from flaxae.data.splits import Shape, Split
from flaxae.errors import InputError, RunError
from flaxae.runs.disk_faults import ends_the_run, is_full, reason

CONFIG = "config.json"
DATASET = "dataset.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
RECONSTRUCTIONS = "reconstructions"
PROFILE = "profile"
EVALUATION = "evaluation"
_LOCK = ".lock"
_SCRATCH = re.compile(r"\..+\.\d+")  # names of write_atomically, which a kill leaves behind
# There since the run's first checkpoint, so that the loss of all checkpoints is noticed.
_HAS_SAVED = ".has-saved"
_MOST_BYTES = 16 << 20  # of a file of JSON


class DatasetInfo(NamedTuple):
    """What is kept of a run's dataset, so that a run can be used without it."""

    name: str
    image_shape: Shape
    class_names: tuple[str, ...]
    sizes: dict[str, int]  # number of images by split
    digest: str | None  # sha256 of the images, if the source has one


def describe(name: str, splits: Mapping[str, Split], digest: str | None) -> DatasetInfo:
    """What is kept of these splits."""
    train = splits["train"]
    sizes = {part: len(split.images) for part, split in splits.items()}
    return DatasetInfo(name, train.image_shape, train.class_names, sizes, digest)


@contextlib.contextmanager
def claim(workdir: Path, config: TrainConfig, dataset: DatasetInfo) -> Iterator[TrainConfig]:
    """Locks the run's folder and writes its config; yields the config, with what was kept.

    Raises:
        InputError: the folder holds another run, or something that is no run.
        RunError: another process trains there.
    """
    config = config.with_absolute_paths()
    _continued(workdir, config, dataset)  # a folder that is refused is left as it is
    with _locked(workdir):
        # Again, because another process may have trained there since.
        config = _continued(workdir, config, dataset)
        for path in workdir.glob(".*"):
            if _SCRATCH.fullmatch(path.name):
                path.unlink(missing_ok=True)
        text = json.dumps(dataset._asdict(), indent=2) + "\n"
        with ends_the_run(str(workdir)):
            write_atomically(workdir / CONFIG, to_json(config).encode())
            write_atomically(workdir / DATASET, text.encode())
        yield config


def rename_old(workdir: Path) -> Path | None:
    """Gives the folder of a run another name, so that the run can start anew; None if none is.

    Raises:
        InputError: the folder cannot be renamed.
        RunError: another process trains there.
    """
    if not (workdir / CONFIG).exists():
        return None
    folder = workdir.resolve()
    names = (folder.with_name(f"{folder.name}-old-{number}") for number in range(1, 10_000))
    old = next(path for path in names if not path.exists())
    with _locked(folder):
        try:
            folder.rename(old)
            if workdir.is_symlink():
                folder.mkdir()  # else the link would lead nowhere
            return old
        except OSError as error:
            raise InputError(f"{folder} cannot be renamed to {old}: {reason(error)}") from error


def mark_saved(workdir: Path) -> None:
    """Notes that the run has a checkpoint."""
    if not (workdir / _HAS_SAVED).exists():
        text = "This run has had a checkpoint: without any, it starts anew only with --restart.\n"
        write_atomically(workdir / _HAS_SAVED, text.encode())


def has_saved(workdir: Path) -> bool:
    """Whether the run has ever had a checkpoint, as far as its folder tells."""
    sealed = any(workdir.glob(f"{CHECKPOINTS}*/[0-9]*/{seal.NAME}"))
    rows = workdir / METRICS  # of earlier versions, which made no note
    return sealed or (workdir / _HAS_SAVED).exists() or (rows.is_file() and rows.stat().st_size > 0)


@contextlib.contextmanager
def _locked(workdir: Path) -> Iterator[None]:
    """Locks the folder, and makes it if there is none.

    Raises:
        InputError: it cannot be written.
        RunError: another process has locked it, or the disk is full.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if (workdir / _LOCK).is_symlink():  # flaxae makes none, and no folder
            (workdir / _LOCK).unlink()
        elif (workdir / _LOCK).is_dir():
            (workdir / _LOCK).rmdir()  # which fails if there is something in it
        lock = open(workdir / _LOCK, "a+b", buffering=0)  # noqa: SIM115 - closed below, after the run
    except OSError as error:
        kind = RunError if is_full(error) else InputError
        raise kind(f"--workdir {workdir} cannot be written: {reason(error)}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            number = lock.read(20).strip()
            who = f"process {number.decode()}" if number.isdigit() else "another process"
            raise RunError(
                f"{who} trains in {workdir}; wait for it, or give another --workdir"
            ) from error
        with contextlib.suppress(OSError):  # the number is a help only, and the disk may be full
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
        yield


def read_config(workdir: Path) -> TrainConfig:
    """The config of the run in `workdir`.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        text = _read_json_text(workdir / CONFIG)
    except FileNotFoundError as error:
        raise InputError(
            f"{workdir} holds no run: there is no {CONFIG}; {_where_runs_are(workdir)}"
        ) from error
    with _unreadable_is_input_error(workdir / CONFIG):
        return from_json(text)


def _where_runs_are(folder: Path) -> str:
    """What to do about a folder that holds no run: name runs below it, or train one there."""
    try:
        content = sorted(folder.iterdir())
    except OSError:  # there is no such folder, or it is a file, or forbidden
        content = []
    runs = [printable(path.name) for path in content if (path / CONFIG).is_file()]
    if runs:
        some = ", ".join(runs[:5]) + ", ..." * (len(runs) > 5)
        return f"it has folders of runs: {some}; give one of them"
    if any(path.name != _LOCK for path in content) or folder.is_file():
        return "give the folder of a run"
    return f"train one with python run.py train --workdir {shlex.quote(str(folder))}"


def read_dataset_info(workdir: Path) -> DatasetInfo | None:
    """What is kept of the run's dataset; None for a run of flaxae 0.1, which kept nothing.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = _read_json_text(workdir / DATASET)
    except FileNotFoundError:
        return None
    with _unreadable_is_input_error(workdir / DATASET):
        return DatasetInfo(**msgspec.convert(json.loads(text), _DatasetFields))


def _read_json_text(path: Path) -> str:
    """The text of a file of JSON; FileNotFoundError if there is none."""
    with _unreadable_is_input_error(path):
        if path.exists() and not path.is_file():
            raise InputError("it is no file")
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InputError(f"it has more than {_MOST_BYTES:,} bytes")
        return content.decode()


@contextlib.contextmanager
def _unreadable_is_input_error(path: Path) -> Iterator[None]:
    """Says in a short line why a file cannot be read, whatever is in it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise InputError(f"{path} cannot be read: it is nested too deeply") from error
    except (OSError, ValueError, TypeError, OverflowError, InputError) as error:
        what = " ".join(str(error).split())
        what = what if len(what) <= 300 else f"{what[:300]}..."
        raise InputError(f"{path} cannot be read: {what}") from error


def _continued(workdir: Path, config: TrainConfig, dataset: DatasetInfo) -> TrainConfig:
    """`config`, completed from the run that the folder holds.

    Raises:
        InputError: that run is another one, or the folder holds files but no run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir {workdir} is a file; give a folder")
    content = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
    foreign = {name for name in content - {_LOCK} if not _SCRATCH.fullmatch(name)}
    if CONFIG not in content and foreign:
        raise InputError(f"--workdir {workdir} holds files but no run of flaxae; give another")
    # A run without a checkpoint is replaced: it has nothing to lose, and its flags may be wrong.
    if CONFIG not in content or not has_saved(workdir):
        return config.with_horizon(None)
    # An earlier version did not note the epochs of a user's own schedule.
    earlier = read_config(workdir).with_horizon(None)
    config = config.with_horizon(earlier)
    changed = differences(earlier, config)
    if changed:
        raise InputError(
            f"{workdir} holds another run: {'; '.join(changed)}; "
            "give the same flags to continue it, or another --workdir"
        )
    before = read_dataset_info(workdir)
    # Without a digest, nothing is known of the images: a dataset of TFDS, or flaxae 0.1.
    if before is not None and before.digest is not None and before.digest != dataset.digest:
        raise InputError(
            f"{workdir} was trained on other images ({change(before, dataset)}); give the same "
            "images to continue it, or another --workdir to train on these"
        )
    return config


def change(before: DatasetInfo, now: DatasetInfo) -> str:
    """What differs between the images of two starts."""
    sizes = [
        f"{name} had {before.sizes.get(name, 0):,} and has {size:,}"
        for name, size in now.sizes.items()
        if size != before.sizes.get(name)
    ]
    if before.image_shape != now.image_shape:
        sizes.append(f"shape {before.image_shape}, now {now.image_shape}")
    if before.class_names != now.class_names:
        names = [", ".join(map(printable, info.class_names[:5])) for info in (before, now)]
        sizes.append(f"their classes were {names[0]} and are {names[1]}")
    digests = f"as many, but the sha256 of pixels and labels was {before.digest}, now {now.digest}"
    return ", ".join(sizes) or digests


class _DatasetFields(TypedDict):
    name: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    digest: str | None
