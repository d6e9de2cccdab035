"""The command `train`."""

import shlex
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flaxae.commands.jax_start import start_jax
from flaxae.commands.options import ProcessOptions
from flaxae.commands.process import SIGNALS, end_soon, stopped
from flaxae.commands.several import Log
from flaxae.config import TrainConfig
from flaxae.training import ProcessesConfig

if TYPE_CHECKING:
    from flaxae.api.run import Run
    from flaxae.training.loop import View


@dataclass(frozen=True, kw_only=True)
class Options(ProcessOptions, ProcessesConfig):
    """Train an autoencoder, or continue the run that the workdir holds."""

    config: TrainConfig
    restart: bool = False
    """Give the folder of an earlier run another name, and start anew."""
    report: bool = True
    """Write a small report.html, which shows the run, into the workdir at the end."""


def run(options: Options) -> int:
    """Trains to `config.epochs`; returns the exit status.

    Raises:
        KeyboardInterrupt: a signal has stopped it; its last step is saved.
    """
    from flaxae.api.train import train
    from flaxae.runs.stop_signal import StopSignal
    from flaxae.runs.workdir import PROFILE
    from flaxae.training.processes import count, is_first

    config = options.config
    start_jax(config.model, options.compilation_cache, config.device.devices, options)
    # SIGINT is heeded by `train` itself.
    terminate = StopSignal(*(number for number in SIGNALS if number != signal.SIGINT))
    callbacks = [terminate, Log(), _Failure()]
    trained = train(config, callbacks=callbacks, verbose=True, restart=options.restart)
    if terminate.received is not None:
        raise stopped(terminate.received)
    if options.report and count() == 1:  # the page is computed by one process
        _write_report(trained)
    if config.profile and is_first():
        from flaxae.report.terminal import say, show_table

        folder = trained.workdir / PROFILE
        rows = [
            (op.name, op.origin, f"{op.milliseconds:.1f}", f"{100 * op.share:.1f}", f"{op.times:,}")
            for op in trained.profile()
        ]
        show_table("", ("operation", "of", "ms", "% of all", "times"), rows)
        say(
            f"the whole profile: pip install xprof && xprof --logdir {shlex.quote(str(folder))}",
            f"or open the newest perfetto_trace.json.gz in {folder} at https://ui.perfetto.dev",
        )
    return 0


def _write_report(trained: "Run") -> None:
    """Writes the run's page; a training that has ended well does not fail because of it."""
    from flaxae.api.report.page import FILE, small_page
    from flaxae.data.atomic import write_atomically
    from flaxae.errors import InputError, RunError
    from flaxae.report.terminal import say
    from flaxae.runs.disk_faults import goes_on_without, warn

    path = trained.workdir / FILE
    try:
        page = small_page(trained)
        with goes_on_without("the report"):
            write_atomically(path, page)
            say(f"report:    {path}")
    except (InputError, RunError) as error:
        warn(f"no report: {error}")


class _Failure:
    """A callback that bounds the time in which the others clean up after an error."""

    everywhere = True

    def on_end(self, view: "View") -> None:
        error = sys.exception()
        if view.status == "failed" and error is not None:
            end_soon(error)
