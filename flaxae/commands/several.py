"""A command that runs in several processes: where each prints, and how all of them end."""

import os
import shutil
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from flaxae.commands import process
from flaxae.commands.ending import Ending
from flaxae.errors import RunError
from flaxae.training import ProcessesConfig

if TYPE_CHECKING:
    from flaxae.training.loop import View
    from flaxae.training.wire import Failure

LOGS = "logs"  # in a run's folder
# Seconds in which the loss of another process is known, of which an error of JAX may be the effect.
_SETTLING = 3.0
# Seconds from a signal to the end while training stops everywhere and saves.
_PATIENCE = 25.0


def join(options: ProcessesConfig) -> None:
    """Joins the processes that `options` name; this command then ends as all of them do.

    Only process 0 goes on printing; see `Log`.

    Raises:
        InputError: nothing tells where the others are.
        RunError: they do not come.
    """
    from flaxae.training import processes

    # Open MPI gives every process a terminal, whatever its own output is.
    os.environ["TTY_COMPATIBLE"] = "0"
    process.take_part(_leave, _await_reason, _PATIENCE)
    processes.join(options, _end_with)
    if not processes.is_first():
        scratch = tempfile.TemporaryFile("ab+", buffering=0)  # noqa: SIM115 - until the process ends
        process.redirect(scratch.fileno())
        Log.scratch = scratch


class Log:
    """A callback that gives each process but the first a file of its own in the run's folder."""

    everywhere = True
    scratch = None  # what was written before the folder was there

    def on_start(self, view: "View") -> None:
        """Opens the file.

        Raises:
            RunError: it cannot be written.
        """
        from flaxae.training import processes

        if Log.scratch is None:
            return
        path = view.task.workdir / LOGS / f"process-{processes.index()}.txt"
        try:
            path.parent.mkdir(exist_ok=True)
            with open(path, "ab") as file:
                sys.stdout.flush()
                Log.scratch.seek(0)
                shutil.copyfileobj(Log.scratch, file)
                file.flush()
                process.redirect(file.fileno())
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}") from error


def _leave(ending: Ending, error: BaseException | None) -> Ending:
    """Parts from the others, who learn of a failure; returns what this process says at its end."""
    from flaxae.training import processes

    own = processes.name()
    if own is None:  # the others were not found
        return ending
    if ending.status == 0 or processes.stop_is_agreed():
        processes.leave()
        return ending
    unexpected = f"{type(error).__name__}: {str(error).partition(os.linesep)[0][:200]}"
    text = ending.line.removeprefix("flaxae: ").removeprefix("error: ") or unexpected
    processes.fail(ending.status, f"{own}: {text}")
    return Ending(ending.status, f"flaxae: error: {own}: {text}")


def _await_reason() -> None:
    """Gives the loss of another process the time to be known, which ends this one."""
    from flaxae.training import processes

    if processes.name() is not None:
        time.sleep(_SETTLING)


def _end_with(failure: "Failure") -> None:
    process.end_now(Ending(failure.status, f"flaxae: error: {failure.line}"))
