"""How well do the default and the presets reconstruct and embed images?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import command
from benchmarks.common.command import COUNT, flag, several


class Row(NamedTuple):
    """A row of the table in docs/results.md: flags of `train`, the seeds, and the checkpoint."""

    flags: Mapping[str, Any]
    seeds: tuple[int, ...]
    checkpoint: str = "best"  # or "latest": distorted inputs improve what validation does not see
    starts: int = 1  # runs for each of `seeds`; the one with the lowest validation loss is taken


_FASHION = {"dataset": "fashion_mnist", "train_limit": 50_000, "epochs": 10}
_DENSE = {"model": "fully_connected"}
_FASHION_MAP = {"preset": "map", **_FASHION, "epochs": 60}
ROWS = {
    "default": Row({}, (0, 1, 2, 3, 4)),
    "default, fully connected": Row(_DENSE, (0, 1, 2, 3, 4)),
    "original": Row({"preset": "original"}, (0, 1, 2)),
    "original, fully connected": Row({"preset": "original", **_DENSE}, (0, 1, 2)),
    "standard, 32 numbers": Row({"preset": "standard", "latent_dim": 32}, (0, 1, 2)),
    "embedding": Row({"preset": "embedding"}, (0, 1, 2, 3, 4), "latest"),
    "standard, Fashion-MNIST": Row({"preset": "standard", **_FASHION}, (0, 1, 2)),
    "embedding, Fashion-MNIST": Row({"preset": "embedding", **_FASHION}, (0, 1, 2), "latest"),
    "standard, Fashion-MNIST, 3 passes": Row({"preset": "standard", **_FASHION, "epochs": 3}, (0,)),
    "map": Row({"preset": "map"}, (0, 1, 2)),
    "map, Fashion-MNIST": Row(_FASHION_MAP, (0, 1, 2)),
    "map, best of 4, Fashion-MNIST": Row(_FASHION_MAP, (0, 1, 2), starts=4),
}


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """The tables of results: trains models and evaluates them on their test splits."""

    question = "quality"
    measure = "benchmarks.quality.results:measure_quality"
    smoke_values = {"rows": ("default, fully connected",), "seeds": 1, "epochs": 2}  # noqa: RUF012
    workdir: Path = flag(Path("runs/quality"), "for the runs, which continue", type=Path)  # noqa: RUF009
    manual_dir: Path | None = flag(None, "of Fashion-MNIST's IDX files, as for train", type=Path)  # noqa: RUF009
    rows: tuple[str, ...] = several(tuple(ROWS), "of the table")
    seeds: int | None = flag(None, "at most so many of a row's seeds", **COUNT)
    epochs: int | None = flag(None, "in place of a row's own", **COUNT)
