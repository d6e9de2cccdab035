"""The command `reconstruct`."""

from dataclasses import dataclass

from flaxae.commands.options import RunOptions
from flaxae.errors import require


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Draw images of a split above their reconstructions."""

    examples: int = 10
    """Number of images; equally many of each class, as far as possible."""
    output: str | None = None
    """PNG file to write (none: <workdir>/reconstructions/<split>.png)."""

    def check(self) -> None:
        super().check()
        require(self.examples >= 1, "--examples", self.examples, "a whole number from 1")


def run(options: Options) -> int:
    """Writes the picture and prints its path."""
    from pathlib import Path

    from flaxae.commands.opened import open_for
    from flaxae.report.figures import png
    from flaxae.runs.workdir import RECONSTRUCTIONS, write_atomically

    trained = open_for(options)
    picture = trained.picture(options.split, examples=options.examples)
    default = trained.workdir / RECONSTRUCTIONS / f"{options.split}.png"
    path = Path(options.output).expanduser().absolute() if options.output else default
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, png(picture))
    print(path)
    return 0
