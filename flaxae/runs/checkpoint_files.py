"""One checkpoint on disk: a folder that Orbax writes, and its seal.

Orbax does not detect flipped bytes in array data. So every checkpoint is sealed with the sha256 of
its files. The folder gets its name, the step, after the seal is in it: a folder of that name
without a fitting seal is damaged, or no checkpoint of flaxae.
"""

import contextlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import jax
import msgspec

from flaxae.data import seal
from flaxae.data.atomic import write_atomically
from flaxae.errors import InputError
from flaxae.training.state import named_leaves

# The import of Orbax logs, and so gives the root logger a handler, which belongs to the caller.
_handlers = list(logging.root.handlers)
from orbax.checkpoint import v1 as ocp  # noqa: E402

logging.root.handlers[:] = _handlers

_UNFINISHED = ".saving-"
_REPLACED = ".replaced-"  # while a checkpoint takes the place of another one of its step
_OVERHEAD = 100_000  # bytes of Orbax's own files
# Else Orbax's threads wait for minutes for folders that cannot be made.
_FOLDERS_FIRST = ocp.options.AsyncOptions(create_directories_asynchronously=False)
_METADATA = "_CHECKPOINT_METADATA"
# Orbax numbers its operations in one counter for the whole process, so that a save which starts
# while another one is written breaks both. Runs in several threads take turns.
_turn = threading.Lock()


class _Progress(TypedDict):
    epoch: int
    sums: dict[str, float]


class Metadata(TypedDict):
    """What a checkpoint says of itself."""

    config: dict[str, Any]
    progress: _Progress
    # Flaxae 0.1 had none of these.
    digest: NotRequired[str | None]  # of the run's images
    validation_loss: NotRequired[float | None]
    history: NotRequired[list[dict[str, int | float]]]  # the lines of metrics.jsonl


def write(folder: Path, arrays: Mapping[str, Any], metadata: Metadata) -> None:
    """Writes a checkpoint: the folder is complete or absent. `arrays` are NumPy's.

    It replaces another one of this step: that of a run which was stopped in the validation that
    follows the step.
    """
    unfinished, replaced = (folder.with_name(f"{p}{folder.name}") for p in (_UNFINISHED, _REPLACED))
    try:
        _require_room(unfinished, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)))
        custom: Any = dict(metadata)
        with _orbax():
            ocp.save(
                str(unfinished),
                dict(arrays),
                checkpointable_name="state",
                overwrite=True,
                custom_metadata=custom,
            )
        write_atomically(unfinished / seal.NAME, seal.seal_of(unfinished))
        if folder.exists():
            folder.rename(replaced)
        unfinished.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        with contextlib.suppress(OSError):  # the folder may be gone or read-only
            remove_unfinished(folder.parent)  # on a full disk, it takes the room of the next one
        raise


def _require_room(path: Path, size: int) -> None:
    """Raises OSError if a file of this size cannot be written.

    Orbax would make folders that are gone again, and its error would be pages long.
    """
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size + _OVERHEAD)
    path.unlink()


def finish_replacements(folder: Path) -> None:
    """Gives a checkpoint its name back that a kill found between two names."""
    for path in folder.glob(f"{_REPLACED}*"):
        named = folder / path.name.removeprefix(_REPLACED)
        if named.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(named)


def remove_unfinished(folder: Path) -> None:
    """Removes what kills have left of checkpoints that were being written."""
    for path in [*folder.glob(f"{_UNFINISHED}*"), *folder.glob("*.orbax-checkpoint-tmp*")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Removes a checkpoint; it is gone as a whole before its files are."""
    going = folder.with_name(f"{_UNFINISHED}{folder.name}")
    folder.rename(going)
    shutil.rmtree(going, ignore_errors=True)


def has_seal(folder: Path) -> bool:
    """Whether there is a seal, fitting or not."""
    return (folder / seal.NAME).is_file()


def read_metadata(folder: Path) -> Metadata:
    """What the checkpoint says of itself.

    Raises:
        InputError: it cannot be read.
    """
    try:
        values = json.loads((folder / _METADATA).read_text())["custom_metadata"]
        losses = folder / "metrics/metrics"  # where earlier versions had the loss
        if "validation_loss" not in values and losses.exists():
            values.update(json.loads(losses.read_text()))
        return msgspec.convert(values, Metadata)
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"its metadata cannot be read: {str(error)[:200]}") from error


def read_arrays(folder: Path, target: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays in the shape, type and place of those of `target`; no other is read.

    Raises:
        InputError: the weights have other names or shapes.
    """
    with _orbax():
        stored: Any = ocp.metadata(str(folder), checkpointable_name="state").metadata
        mismatch = _first_mismatch(stored, target)
        if mismatch:
            raise InputError(f"checkpoint {folder.name} is of another model: {mismatch}")
        abstract = jax.tree.map(_abstract, dict(target))
        return dict(ocp.load(str(folder), abstract, checkpointable_name="state"))


@contextlib.contextmanager
def _orbax() -> Iterator[None]:
    """Waits until no other operation is under way in this process, and turns off Orbax's log.

    The log has a traceback of every error that we raise as one line. Orbax also logs to the root
    logger, and so gives it a handler, which is removed again.
    """
    with _turn:
        log, silence = logging.getLogger("absl"), logging.Filter(name="nothing has this name")
        handlers = list(logging.root.handlers)
        log.addFilter(silence)
        try:
            with _alone() as options, ocp.Context(async_options=_FOLDERS_FIRST, **options):
                yield
        finally:
            log.removeFilter(silence)
            logging.root.handlers[:] = [h for h in logging.root.handlers if h in handlers]


@contextlib.contextmanager
def _alone() -> Iterator[dict[str, Any]]:
    """Options by which Orbax does not wait for the other processes of a run.

    Every process has all the weights, so one of them writes them, and each reads them for itself.
    """
    if jax.process_count() == 1:
        yield {}
        return
    from orbax.checkpoint.experimental.v1._src.saving import execution

    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"flaxae-{own}"
    )
    # It compares the processes' paths by a collective, whatever the options say, in the thread that
    # saves: between those of the training steps, where gloo and NCCL mistake one for another.
    check = execution._check_directory_consistency
    execution._check_directory_consistency = lambda directory: None
    try:
        yield {"multiprocessing_options": options}
    finally:
        execution._check_directory_consistency = check


def _first_mismatch(stored: Any, arrays: Mapping[str, Any]) -> str | None:
    there, here = named_leaves(stored["params"]), named_leaves(arrays["params"])
    for name in sorted(set(there) | set(here)):
        shapes = [tuple(side[name].shape) if name in side else "absent" for side in (there, here)]
        if shapes[0] != shapes[1]:
            return f"{name} is {shapes[0]} there, {shapes[1]} here"
    return None


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = jax.numpy.asarray(leaf)
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
