"""The command `train`."""

import signal
from dataclasses import dataclass

from flaxae.commands.options import ProcessOptions
from flaxae.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Options(ProcessOptions):
    """Train an autoencoder, or continue the run that the workdir holds."""

    config: TrainConfig


def run(options: Options) -> int:
    """Trains to `config.epochs`; returns the exit status, 128 + signal if one stopped it."""
    from flaxae.api.train import train
    from flaxae.runs.stop_signal import StopSignal
    from flaxae.runs.workdir import PROFILE
    from flaxae.training.devices import configure_jax

    config = options.config
    configure_jax(config.model, options.compilation_cache)
    terminate = StopSignal(signal.SIGTERM)
    try:
        trained = train(config, callbacks=[terminate], verbose=True)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if terminate.received is not None:
        return 128 + terminate.received
    if config.profile:
        from flaxae.report.terminal import show_table

        folder = trained.workdir / PROFILE
        rows = [
            (op.name, op.origin, f"{op.milliseconds:.1f}", f"{100 * op.share:.1f}", f"{op.times:,}")
            for op in trained.profile()
        ]
        show_table("", ("operation", "of", "ms", "% of all", "times"), rows)
        print(
            f"the whole profile: pip install xprof && xprof --logdir {folder}\n"
            f"or open the newest perfetto_trace.json.gz in {folder} at https://ui.perfetto.dev"
        )
    return 0
