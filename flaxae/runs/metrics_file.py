"""The recorder of metrics.jsonl."""

from pathlib import Path

from flaxae.errors import RunError
from flaxae.runs.workdir import CONFIG, append_metrics, forget_metrics_after
from flaxae.training.loop import View


class MetricsFile:
    """Adds a line to the run's metrics.jsonl after each epoch."""

    def __init__(self, workdir: Path) -> None:
        self._workdir = workdir

    def on_start(self, view: View) -> None:
        """Removes the lines of epochs that are trained again."""
        forget_metrics_after(self._workdir, view.epoch)

    def on_epoch(self, view: View) -> None:
        """Adds the epoch's line.

        Raises:
            RunError: somebody has moved or deleted the run's folder.
        """
        if not (self._workdir / CONFIG).exists():
            raise RunError(f"{self._workdir} was moved or deleted while its run was training")
        append_metrics(self._workdir, view.record)
