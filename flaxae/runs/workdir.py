"""The folder of a run: one writer at a time, and files that are complete or absent."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO, TypedDict

import msgspec

from flaxae.config import TrainConfig
from flaxae.config.serialization import differences, from_json, to_json
from flaxae.data.file_names import printable
from flaxae.data.splits import Shape, Split
from flaxae.errors import InputError, RunError

CONFIG = "config.json"
DATASET = "dataset.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
RECONSTRUCTIONS = "reconstructions"
PROFILE = "profile"
EVALUATION = "evaluation"
_LOCK = ".lock"


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
    config = _continued(workdir, config.with_absolute_paths(), dataset)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        # Not "w", which would remove the other writer's number. It is closed after the run.
        lock = open(workdir / _LOCK, "a+", encoding="ascii", errors="replace")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"--workdir {workdir} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process{_owner(lock)} trains in {workdir}; wait for it, or give another "
                "--workdir"
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        write_atomically(workdir / CONFIG, to_json(config).encode())
        text = json.dumps(dataset._asdict(), indent=2) + "\n"
        write_atomically(workdir / DATASET, text.encode())
        yield config


def _owner(lock: TextIO) -> str:
    """Who holds the lock, for a message."""
    lock.seek(0)
    text = lock.read(20).strip()
    return f" (its number is {text})" if text.isdecimal() else ""


def read_config(workdir: Path) -> TrainConfig:
    """The config of the run in `workdir`.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = workdir / CONFIG
    try:
        return from_json(path.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"{workdir} holds no run: there is no {CONFIG}; train one with "
            f"python run.py train --workdir {workdir}"
        ) from error
    except (OSError, ValueError, RecursionError, InputError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def read_dataset_info(workdir: Path) -> DatasetInfo | None:
    """What is kept of the run's dataset; None for a run of flaxae 0.1, which kept nothing.

    Raises:
        InputError: the file cannot be read.
    """
    path = workdir / DATASET
    try:
        values = json.loads(path.read_text())
        return DatasetInfo(**msgspec.convert(values, _DatasetFields))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a temporary file, then renames it: a reader sees the old file or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def append_metrics(workdir: Path, record: Mapping[str, int | float]) -> None:
    """Adds one epoch's numbers as a line of JSON."""
    with open(workdir / METRICS, "a") as file:
        file.write(json.dumps(record) + "\n")


def read_metrics(workdir: Path) -> list[dict[str, int | float]]:
    """The epochs recorded so far, without a line that a kill cut short."""
    path = workdir / METRICS
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and "epoch" in record]


def forget_metrics_after(workdir: Path, epoch: int) -> None:
    """Removes the records of epochs that no checkpoint holds, because they are trained again."""
    kept = [record for record in read_metrics(workdir) if record["epoch"] <= epoch]
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_atomically(workdir / METRICS, text.encode())


def _continued(workdir: Path, config: TrainConfig, dataset: DatasetInfo) -> TrainConfig:
    """`config`, completed from the run that the folder holds.

    Raises:
        InputError: that run is another one, or the folder holds files but no run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir {workdir} is a file; give a folder")
    content = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
    if CONFIG not in content and content - {_LOCK}:
        raise InputError(f"--workdir {workdir} holds files but no run of flaxae; give another")
    # A run without a checkpoint is replaced: it has nothing to lose, and its flags may be wrong.
    if CONFIG not in content or not any((workdir / CHECKPOINTS).glob("[0-9]*")):
        return config.with_horizon(None)
    earlier = read_config(workdir)
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
