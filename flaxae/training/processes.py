"""The processes that train one model together; most runs have one.

JAX starts the runtime that its collectives need, and a star of sockets carries the rest (see
`wire`). Every function here does nothing, or the obvious, in a run of one process.
"""

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from flaxae.errors import InputError, RunError
from flaxae.training import ProcessesConfig, links
from flaxae.training.first_look import first_look
from flaxae.training.hub import Hub
from flaxae.training.spoke import Spoke
from flaxae.training.wire import Failure, Wire

logger = logging.getLogger("flaxae.processes")

Tree = TypeVar("Tree")
_joined: Wire | None = None
_stop_is_agreed = False
# Of JAX's own death notice, which is slower than ours and ends a process at length.
_HEARTBEAT_MINUTES = 10
_HUB = "flaxae/hub"  # where process 0 publishes its socket


def join(config: ProcessesConfig, on_failure: Callable[[Failure], None]) -> None:
    """Finds the other processes and connects to them; must come before JAX is used.

    `on_failure` is called in a thread when another process has failed; it should end this one.

    It is also called when they have not come within `config.wait_minutes`.

    Raises:
        InputError: nothing tells where the others are, or JAX finds no device.
        RunError: they cannot be reached.
    """
    global _joined
    seconds = 60 * config.wait_minutes
    with _until_found(config, on_failure):
        _initialize(config, seconds)
        with first_look():
            index, count = jax.process_index(), jax.process_count()
        name = f"process {index} of {count} ({socket.gethostname()})"
        _joined = _connect(index, count, name, seconds, on_failure)
    _require_equal_devices()
    _first_collective()


def leave() -> None:
    """The regular end: waits until all have come here, then parts from them."""
    if _joined is not None:
        _joined.gather("the end")
        _joined.leave()


def agree_to_stop() -> None:
    """Notes that all processes stop because of a signal, as at a regular end."""
    global _stop_is_agreed
    _stop_is_agreed = True


def stop_is_agreed() -> bool:
    """Whether all processes stop because of a signal."""
    return _stop_is_agreed


def fail(status: int, line: str) -> None:
    """Tells the others that this process fails, so that they end too."""
    if _joined is not None:
        _joined.fail(status, line)


def count() -> int:
    """Number of processes.

    Raises:
        InputError: JAX has several, but `join` was not called.
    """
    if _joined is not None:
        return _joined.count
    if jax.process_count() > 1:
        raise InputError(
            "JAX runs in several processes that do not know each other; call "
            "flaxae.training.processes.join in place of jax.distributed.initialize"
        )
    return 1


def index() -> int:
    """The number of this process, from 0."""
    return 0 if _joined is None else _joined.index


def is_first() -> bool:
    """Whether this is process 0, which writes, prints and chooses."""
    return index() == 0


def name() -> str | None:
    """This process in a message; None in a run of one process."""
    return None if _joined is None else _joined.names[_joined.index]


def gather(what: str, value: Any = None, patient: bool = False) -> list[Any]:
    """The values (JSON) of all processes in their order; none goes on before all have come.

    `what` is what a message calls this point. One that is late is waited for, `patient` without an
    end, as for a process that decodes a million images.
    """
    return [value] if _joined is None else _joined.gather(what, value, patient)


def from_first(what: str, value: Any) -> Any:
    """The value (JSON) of process 0; those of the others do not matter."""
    return gather(what, value, patient=True)[0]


@contextlib.contextmanager
def first_alone(what: str) -> Iterator[None]:
    """Process 0 runs the block, then all others do."""
    if not is_first():
        logger.info("waiting for process 0: %s", what)
        gather(what, patient=True)
    yield
    if is_first():
        gather(what, patient=True)


class Agreement:
    """Whether any process wants to stop, known one call late, so that no step waits for it."""

    def __init__(self) -> None:
        self._asked: str | None = None

    def soon(self, wish: bool) -> bool:
        """Gives this process's wish; whether any wanted to stop at the call before."""
        if _joined is None:
            return wish
        before, self._asked = self._asked, _joined.ask("the next steps", wish, patient=False)
        return before is not None and any(_joined.answer(before))

    def now(self, wish: bool) -> bool:
        """Whether any process wants to stop, up to now."""
        if _joined is None:
            return wish
        before, self._asked = self._asked, None
        earlier = before is not None and any(_joined.answer(before))
        return any(_joined.gather("the end of an epoch", wish)) or earlier


def local(tree: Tree) -> Tree:
    """This process's copies of arrays that every device has."""
    if _joined is None:
        return tree
    return jax.tree.map(
        lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree
    )


def join_rows(what: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The rows of all processes one after the other, in each; all must have equally many.

    `what` is what a message calls this point.
    """
    if _joined is None:
        return list(arrays)
    # All are here before the collective, whose first use gloo allows half a minute.
    _joined.gather(what, patient=False)
    with _without_greetings():
        return list(multihost_utils.process_allgather(tuple(arrays), tiled=True))


def _initialize(config: ProcessesConfig, seconds: float) -> None:
    """Starts JAX's distributed runtime."""
    if jax.config.jax_cpu_collectives_implementation in (None, "none"):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM from our handler.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process_id,
            # JAX ends the process where this is over, so our own limit comes before.
            initialization_timeout=int(seconds) + 60,
            heartbeat_timeout_seconds=int(seconds) + 60 * _HEARTBEAT_MINUTES,
        )
    except ValueError as error:
        raise InputError(
            f"--distributed found no SLURM, Open MPI, Kubernetes or TPU pod here ({error}); start "
            "it by one of them, or give --coordinator HOST:PORT --processes N --process-id I"
        ) from error
    except RuntimeError as error:
        where = config.coordinator or "the coordinator"
        reason = str(error).partition("\n")[0][:200]
        raise RunError(f"JAX cannot start its runtime at {where}: {reason}") from error


def _connect(
    index: int, count: int, name: str, seconds: float, on_failure: Callable[[Failure], None]
) -> Wire:
    # JAX knows the address at which all reach process 0, and carries the port. Orbax uses the same.
    from jax._src.distributed import global_state

    client: Any = global_state.client
    address = global_state.coordinator_address or "127.0.0.1:0"
    try:
        if index == 0:
            server, token = links.listen(), secrets.token_hex(16)
            client.key_value_set(_HUB, json.dumps([server.getsockname()[1], token]))
            sockets, names = links.accept(server, count, token, name, seconds)
            return Hub(sockets, names, seconds, on_failure)
        port, token = json.loads(client.blocking_key_value_get(_HUB, int(1000 * seconds)))
        host = address.rpartition(":")[0].strip("[]")
        link, names = links.connect((host, port), index, token, name, seconds)
        return Spoke(link, index, names, seconds, on_failure)
    except (OSError, KeyError, RuntimeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise RunError(f"{name} cannot connect to process 0 at {address} ({reason})") from error


def _require_equal_devices() -> None:
    """Raises RunError unless every process has as many devices of the same kind."""
    assert _joined is not None
    devices = jax.local_devices()
    found = gather("the first look at the devices", [len(devices), devices[0].device_kind])
    for name, own in zip(_joined.names, found, strict=True):
        if own != found[0]:
            raise RunError(
                f"{name} has {own[0]} x {own[1]}, and process 0 has {found[0][0]} x {found[0][1]}; "
                "give all the same, on GPUs by CUDA_VISIBLE_DEVICES, on a CPU by --devices"
            )


def _first_collective() -> None:
    """Connects the devices now that all are here: gloo allows half a minute for it.

    Raises:
        RunError: they cannot be connected.
    """
    mesh = jax.sharding.Mesh(jax.devices(), ("all",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("all"))
    try:
        ones = jax.make_array_from_process_local_data(sharding, np.ones(jax.local_device_count()))
        with _without_greetings():
            total = float(jax.jit(lambda x: x.sum())(ones))
    except RuntimeError as error:
        reason = str(error).partition("\n")[0][:200]
        raise RunError(
            f"the devices of all processes cannot be connected ({reason}); see that the machines "
            "reach each other, and start again"
        ) from error
    assert total == jax.device_count(), "the devices do not add"


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
    """Gloo writes to standard output, which may be a file of results, that it is connected."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _until_found(config: ProcessesConfig, on_failure: Callable[[Failure], None]) -> Iterator[None]:
    """Says that other processes are waited for, and ends this one when that has taken too long.

    By a thread, because JAX waits in one call.
    """
    found, where = threading.Event(), config.coordinator or "the coordinator"

    def watch() -> None:
        start, seconds = time.monotonic(), 60 * config.wait_minutes
        pause = min(10.0, seconds)
        while not found.wait(pause):
            waited = time.monotonic() - start
            if waited >= seconds:
                minutes = f"{config.wait_minutes:g} minutes"
                line = f"the processes did not find each other at {where} within {minutes}"
                on_failure(Failure(1, f"{line}; are all started, and do they reach it?"))
                return
            logger.info("waiting for the other processes to start, %.0f seconds so far", waited)
            pause = min(2 * pause, seconds - waited)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        found.set()
