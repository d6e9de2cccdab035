"""How well do the models reconstruct and embed images?"""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import command
from benchmarks.common.command import flag, several

MODELS = ("convolutional", "fully_connected")
EPOCHS = {"mnist_5k": 50, "fashion_mnist": 10}  # the default, and about three times as many steps


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """The README's tables of results: trains models and evaluates them on their test splits."""

    question = "quality"
    measure = "benchmarks.quality.results:measure_quality"
    smoke_values = {"models": MODELS[1:], "datasets": ("mnist_5k",), "seeds": (0,)}  # noqa: RUF012
    workdir: Path = flag(Path("runs/results"), "for the runs, which continue", type=Path)  # noqa: RUF009
    manual_dir: Path | None = flag(None, "of Fashion-MNIST's IDX files, as for train", type=Path)  # noqa: RUF009
    seeds: tuple[int, ...] = flag((0, 1, 2), "one run each", nargs="+", type=int)
    models: tuple[str, ...] = several(MODELS, "autoencoders")
    datasets: tuple[str, ...] = several(tuple(EPOCHS), "what to train on")
