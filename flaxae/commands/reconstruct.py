"""The command `reconstruct`."""

from dataclasses import dataclass

from flaxae.commands.options import RunOptions
from flaxae.errors import PathText, require


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Draw images of a split above their reconstructions."""

    examples: int = 10
    """Number of images; equally many of each class, as far as possible."""
    output: PathText | None = None
    """PNG file to write (none: <workdir>/reconstructions/<split>.png)."""
    output_dir: PathText | None = None
    """Folder that gets the reconstruction of every image, <row>_<name>.png, in place of a PNG."""

    def check(self) -> None:
        super().check()
        both = self.output is not None and self.output_dir is not None
        require(not both, "--output and --output-dir", "both", "one of them")
        require(self.examples >= 1, "--examples", self.examples, "a whole number from 1")


def run(options: Options) -> int:
    """Writes the picture and prints its path."""
    from pathlib import Path

    from flaxae.commands.opened import open_for
    from flaxae.report.figures import png
    from flaxae.report.terminal import say
    from flaxae.runs.workdir import RECONSTRUCTIONS, write_atomically

    trained = open_for(options)
    if options.output_dir is not None:
        folder = Path(options.output_dir).expanduser().absolute()
        count = trained.write_reconstructions(folder, options.split, images=options.images)
        say(f"{count:,} pictures in {folder}")
        return 0
    picture = trained.picture(options.split, images=options.images, examples=options.examples)
    default = trained.workdir / RECONSTRUCTIONS / f"{options.what}.png"
    path = Path(options.output).expanduser().absolute() if options.output else default
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, png(picture))
    say(path)
    return 0
