"""The flags of the benchmark of quality."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import command
from benchmarks.common.command import flag

MODELS = ("convolutional", "fully_connected")
EPOCHS = {"mnist_5k": 50, "fashion_mnist": 10}  # the default, and about three times as many steps
_FASHION = "as for train: the folder of Fashion-MNIST's IDX files"


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """The README's tables of results: trains models and evaluates them on their test splits."""

    question = "quality"
    measure = "benchmarks.quality.results:measure_quality"
    smoke_values = {"models": MODELS[1:], "datasets": ("mnist_5k",), "seeds": (0,)}  # noqa: RUF012
    workdir: Path = flag(Path("runs/results"), "for the runs, which continue", type=Path)  # noqa: RUF009
    manual_dir: Path | None = flag(None, _FASHION, type=Path)  # noqa: RUF009
    seeds: tuple[int, ...] = flag((0, 1, 2), "one run each", nargs="+", type=int)
    models: tuple[str, ...] = flag(MODELS, "autoencoders", nargs="+", choices=MODELS)
    datasets: tuple[str, ...] = flag(
        tuple(EPOCHS), "what to train on", nargs="+", choices=tuple(EPOCHS)
    )
