"""The command `train`."""

import shlex
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flaxae.commands.jax_start import start_jax
from flaxae.commands.options import ProcessOptions
from flaxae.commands.process import end_soon, stopped
from flaxae.commands.several import Log
from flaxae.config import TrainConfig
from flaxae.training import ProcessesConfig

if TYPE_CHECKING:
    from flaxae.training.loop import View


@dataclass(frozen=True, kw_only=True)
class Options(ProcessOptions, ProcessesConfig):
    """Train an autoencoder, or continue the run that the workdir holds."""

    config: TrainConfig
    restart: bool = False
    """Give the folder of an earlier run another name, and start anew."""


def run(options: Options) -> int:
    """Trains to `config.epochs`; returns the exit status.

    Raises:
        KeyboardInterrupt: a signal has stopped it; its last step is saved.
    """
    from flaxae.api.train import train
    from flaxae.runs.stop_signal import StopSignal
    from flaxae.runs.workdir import PROFILE
    from flaxae.training.processes import is_first

    config = options.config
    start_jax(config.model, options.compilation_cache, config.device.devices, options)
    terminate = StopSignal(signal.SIGTERM, signal.SIGHUP)
    callbacks = [terminate, Log(), _Failure()]
    trained = train(config, callbacks=callbacks, verbose=True, restart=options.restart)
    if terminate.received is not None:
        raise stopped(terminate.received)
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


class _Failure:
    """A callback that bounds the time in which the others clean up after an error."""

    everywhere = True

    def on_end(self, view: "View") -> None:
        error = sys.exception()
        if view.status == "failed" and error is not None:
            end_soon(error)
