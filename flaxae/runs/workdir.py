"""The folder of a run: whose it is, one writer at a time, and files that are whole or absent."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from flaxae.config import TrainConfig, differences, from_dict, to_json
from flaxae.errors import InputError, RunError

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
RECONSTRUCTIONS = "reconstructions"
PROFILE = "profile"
EVALUATION = "evaluation"
_LOCK = ".lock"

Record = dict[str, int | float]  # an epoch's numbers by name


@contextlib.contextmanager
def claim(config: TrainConfig) -> Iterator[Path]:
    """The run's folder, locked and with its config.json written.

    Raises:
        InputError: the folder holds another run, or something that is no run.
        RunError: another process trains there.
    """
    workdir = config.workdir_path()
    _refuse_foreign(workdir, config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = open(workdir / _LOCK, "w")  # noqa: SIM115 - closed below, after the run
    except OSError as error:
        raise InputError(f"--workdir {workdir} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another process trains in {workdir}; wait for it, or take another --workdir"
            ) from error
        write_atomically(workdir / CONFIG, to_json(config.with_absolute_paths()).encode())
        yield workdir


def read_config(workdir: Path) -> TrainConfig:
    """The config of the run in `workdir`.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = workdir / CONFIG
    try:
        values = json.loads(path.read_text())
        return from_dict(TrainConfig, values)
    except FileNotFoundError as error:
        raise InputError(
            f"{workdir} holds no run: there is no {CONFIG}; train one with "
            f"python run.py train --workdir {workdir}"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes under a temporary name, then renames: a reader sees the old file or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def append_metrics(workdir: Path, record: Record) -> None:
    """Adds one epoch's numbers as a line of JSON."""
    with open(workdir / METRICS, "a") as file:
        file.write(json.dumps(record) + "\n")


def read_metrics(workdir: Path) -> list[Record]:
    """The epochs recorded so far; a line that a kill cut short is passed over."""
    path = workdir / METRICS
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and "epoch" in record]


def forget_metrics_after(workdir: Path, epoch: int) -> None:
    """Drops the records of epochs that no checkpoint holds, before they are trained again."""
    kept = [record for record in read_metrics(workdir) if record["epoch"] <= epoch]
    text = "".join(json.dumps(record) + "\n" for record in kept)
    write_atomically(workdir / METRICS, text.encode())


def _refuse_foreign(workdir: Path, config: TrainConfig) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"--workdir {workdir} is a file; give a folder")
    content = {path.name for path in workdir.iterdir()} if workdir.is_dir() else set()
    # A run that never came to a checkpoint, for its flags were wrong, gives its folder away.
    begun = any((workdir / CHECKPOINTS).glob("[0-9]*"))
    if CONFIG in content and begun:
        changed = differences(read_config(workdir), config)
        if changed:
            raise InputError(
                f"{workdir} holds another run: {'; '.join(changed)}; "
                "give the same flags to go on with it, or another --workdir"
            )
    elif CONFIG not in content and content - {_LOCK}:
        raise InputError(f"--workdir {workdir} holds files but no run of flaxae; give another")
