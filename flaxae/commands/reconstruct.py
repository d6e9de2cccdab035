"""The command `reconstruct`."""

from dataclasses import dataclass

from flaxae.commands.options import RunOptions
from flaxae.data import is_path
from flaxae.errors import PathText, require


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """Draw images of a split above their reconstructions."""

    examples: int = 10
    """Number of images; equally many of each class, as far as possible."""
    output: PathText | None = None
    """File to write, .png, .jpg or .webp (none: <workdir>/reconstructions/<split>.png)."""
    output_dir: PathText | None = None
    """Folder that gets the reconstruction of every image, <row>_<name>.png, in place of a PNG."""
    overwrite: bool = False
    """Replace also files that flaxae has not written."""

    def check(self) -> None:
        super().check()
        both = self.output is not None and self.output_dir is not None
        require(not both, "--output and --output-dir", "both", "one of them")
        require(self.examples >= 1, "--examples", self.examples, "a whole number from 1")


def run(options: Options) -> int:
    """Writes the picture and prints its path."""
    from pathlib import Path

    from flaxae.commands.opened import open_for
    from flaxae.export.outputs import FORMATS, encoded, file_target, require_outside, write_new
    from flaxae.report.terminal import say
    from flaxae.runs.workdir import RECONSTRUCTIONS

    def target(name: str | Path) -> Path:
        own_place = options.output is None
        overwrite = options.overwrite
        return file_target(name, "--output", overwrite=overwrite, own_place=own_place)

    # A file that is named is refused before the run is opened, which takes seconds.
    named = None if options.output is None else target(options.output)
    trained = open_for(options)
    dataset = trained.config.data.dataset
    sources = options.images, dataset if is_path(dataset) else None
    if named is not None:
        require_outside(named, *sources, flag="--output")
    if options.output_dir is not None:
        folder = Path(options.output_dir).expanduser().absolute()
        require_outside(folder, *sources)
        count = trained.write_reconstructions(
            folder, options.split, images=options.images, overwrite=options.overwrite
        )
        say(f"{count:,} pictures in {folder}")
        return 0
    path = named or target(trained.workdir / RECONSTRUCTIONS / f"{options.what}.png")
    picture = trained.picture(options.split, images=options.images, examples=options.examples)
    write_new(path, encoded(picture, FORMATS[path.suffix.lower()]), "--output")
    say(path)
    return 0
