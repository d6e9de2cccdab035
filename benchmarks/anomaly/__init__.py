"""How well does `score` tell one class of images from all others, and defects from textures?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import command
from benchmarks.common.command import COUNT, flag, several

CLASSES = tuple(map(str, range(10)))
TEXTURES = ("brick", "grass", "gravel")


@dataclass(frozen=True, kw_only=True)
class Settings(command.Settings):
    """Trains --preset anomaly on one class at a time and scores the test images of all ten.

    Then trains it on patches of textures and scores patches with synthetic defects. Both beside
    simple detectors. What was measured is kept, and a benchmark that was stopped goes on.
    """

    question = "anomaly"
    measure = "benchmarks.anomaly.results:measure_anomaly"
    smoke_values = {  # noqa: RUF012
        "dataset": "mnist_5k",
        "classes": ("3",),
        "textures": ("brick",),
        "seeds": 1,
        "epochs": 1,
        "texture_epochs": 1,
        "patches": 40,
    }
    workdir: Path = flag(Path("runs/anomaly"), "for the runs, which continue", type=Path)  # noqa: RUF009
    manual_dir: Path | None = flag(None, "of Fashion-MNIST's IDX files, as for train", type=Path)  # noqa: RUF009
    dataset: str = flag("fashion_mnist", "of ten classes", choices=("fashion_mnist", "mnist_5k"))
    classes: tuple[str, ...] = several(CLASSES, "that are normal, one at a time")
    textures: tuple[str, ...] = several(TEXTURES, "whose patches get defects")
    seeds: int = flag(3, "of each class", **COUNT)
    epochs: int = flag(30, "of a class", **COUNT)
    texture_epochs: int = flag(150, "of a texture", **COUNT)
    patches: int = flag(1000, "of a texture, to train and validate on", **COUNT)

    @property
    def flags(self) -> dict[str, Any]:
        """What every run has in common, as flags of train."""
        return {"preset": "anomaly"}
