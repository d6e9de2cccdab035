"""What the processes of a run decide together; in a run of one process, what it decides."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flax.training.train_state import TrainState

from flaxae.config import TrainConfig
from flaxae.config.serialization import from_json, to_json
from flaxae.data.splits import Split
from flaxae.errors import InputError, RunError
from flaxae.runs.checkpoint_folder import Progress, Restored
from flaxae.runs.checkpoints import Checkpoints
from flaxae.runs.disk_faults import warn
from flaxae.runs.stop_signal import StopSignal
from flaxae.runs.workdir import CONFIG, DatasetInfo, claim, rename_old
from flaxae.training import processes

# Folders that may have another name on another machine.
_OWN = {"data_dir", "manual_dir", "store_dir"}
_STALE = 35.0  # seconds after which NFS shows what another machine has written


def require_alike(config: TrainConfig, dataset: DatasetInfo) -> None:
    """Raises InputError unless all processes were given the same flags and see the same images."""
    own = _flags(config)
    mine = {"flags": own, "images": [dataset.digest, dataset.sizes, list(dataset.class_names)]}
    every = processes.gather("the comparison of flags and images", mine)
    for number, other in enumerate(every):
        flags = other["flags"]
        for name, first in every[0]["flags"].items():
            if flags.get(name) != first:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(
                    f"process {number} was started with {flag} {flags.get(name)}, and process 0 "
                    f"with {first}; give all the same flags"
                )
        if other["images"] != every[0]["images"]:
            raise InputError(
                f"process {number} sees other images at {config.data.dataset} than process 0: "
                f"{other['images'][1]} of sha256 {other['images'][0]} there, "
                f"{every[0]['images'][1]} of {every[0]['images'][0]} in process 0"
            )


def _flags(config: TrainConfig) -> dict[str, str]:
    """The flags as texts; the model first, because other models have other flags."""
    return {"model": config.model.name, **dict(_options(dataclasses.asdict(config)))}


def _options(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _options(value)
        elif name not in _OWN:
            yield name, str(value)


@contextlib.contextmanager
def claim_together(
    workdir: Path, config: TrainConfig, dataset: DatasetInfo, restart: bool
) -> Iterator[TrainConfig]:
    """`claim` by process 0; the others get its config, and must see the folder.

    With `restart`, an earlier run in the folder gets another name before.

    Raises:
        InputError: see `claim`; or a process does not see the folder of process 0.
        RunError: another run trains there.
    """
    if not processes.is_first():
        written = processes.from_first("the folder of the run", None)
        if not _appears(workdir, written):
            raise InputError(
                f"{processes.name()} does not see the --workdir {workdir} of process 0; give a "
                "folder that all machines share"
            )
        yield from_json(written)
        return
    old = rename_old(workdir) if restart else None
    if old is not None:
        warn(f"the earlier run is now {old}")
    with claim(workdir, config, dataset) as claimed:
        processes.from_first("the folder of the run", to_json(claimed))
        yield claimed


def _appears(workdir: Path, text: str) -> bool:
    """Whether the folder has this config, now or soon."""
    end = time.monotonic() + _STALE
    while not _holds(workdir, text):
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def _holds(workdir: Path, text: str) -> bool:
    try:
        return (workdir / CONFIG).read_text() == text
    except OSError:
        return False


def restore_together(
    checkpoints: Checkpoints, state: TrainState, choose: Callable[[], Restored]
) -> Restored:
    """What process 0 chooses to go on from, read by every process.

    `choose` is called in process 0 alone.

    Raises:
        RunError: a process cannot read the checkpoint that process 0 has chosen.
    """
    if processes.is_first():
        restored = choose()
        step = int(restored.state.step)
        processes.from_first("the choice of a checkpoint", step)
    else:
        step = processes.from_first("the choice of a checkpoint", None)
        restored = Restored(state, Progress(epoch=0), [])
        if step:
            found = checkpoints.restore(state, step)
            if found is None:
                raise RunError(f"{processes.name()} does not see the checkpoint of step {step}")
            restored = found
    processes.gather("the restored weights", patient=True)
    return restored


def require_same_weights(step: int, split: Split) -> None:
    """Raises RunError unless all processes have these weights, and as many images, to look at."""
    mine = [step, len(split.images)]
    # Patient, because process 0 may have had more to do before.
    every = processes.gather("the weights and the images", mine, patient=True)
    for number, other in enumerate(every):
        if other != every[0]:
            raise RunError(
                f"process {number} has {other[1]} images and the weights of step {other[0]}, and "
                f"process 0 has {every[0][1]} and those of step {every[0][0]}; give all the same "
                f"images, and --checkpoint {every[0][0]}"
            )


def share_signals(stops: Sequence[StopSignal]) -> None:
    """Lets every process know of a signal that one of them has received, and waits for all."""
    received = processes.gather("the end of training", [s.received for s in stops], patient=True)
    for position, stop in enumerate(stops):
        found = [each[position] for each in received if each[position] is not None]
        stop.received = stop.received or next(iter(found), None)
    if any(stop.received is not None for stop in stops):
        processes.agree_to_stop()
