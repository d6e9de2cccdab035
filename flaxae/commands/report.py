"""The command `report`."""

from dataclasses import dataclass

from flaxae.commands.options import ImageOptions
from flaxae.errors import PathText, require


@dataclass(frozen=True, kw_only=True)
class Options(ImageOptions):
    """Write one HTML file that shows a run, or several beside each other."""

    workdir: PathText | None = None
    """Folder of a run of `train`."""
    compare: tuple[PathText, ...] | None = None
    """Folders of runs to show beside each other, in place of --workdir."""
    thumbnails: int = 20_000
    """So many points of the map at most have a picture."""
    output: PathText | None = None
    """File to write, .html (none: <workdir>/report.html; with --compare: comparison.html)."""
    overwrite: bool = False
    """Replace also a file that flaxae has not written."""

    def check(self) -> None:
        super().check()
        one = (self.workdir is None) != (self.compare is None)
        came = "neither" if self.workdir is None else "both"
        require(one, "--workdir and --compare", came, "one of them")
        require(self.thumbnails >= 0, "--thumbnails", self.thumbnails, "a whole number from 0")
        if self.compare is not None:
            enough = len(self.compare) >= 2
            require(enough, "--compare", " ".join(self.compare) or "nothing", "two runs or more")
            require(self.images is None, "--images", "with --compare", "a --split")


def run(options: Options) -> int:
    """Writes the page and prints its path."""
    from flaxae.api.load import load
    from flaxae.api.report.comparison import FILE, write_comparison
    from flaxae.api.report.page import report_target
    from flaxae.commands.jax_start import start_jax
    from flaxae.config import run_folder
    from flaxae.data.sizes import size_text
    from flaxae.report.terminal import say
    from flaxae.runs.workdir import read_config

    folders = [run_folder(folder) for folder in options.compare or (options.workdir,) if folder]
    overwrite = options.overwrite
    output = options.output or (None if options.compare is None else FILE)
    # Refused before the runs are opened, which takes seconds.
    report_target(folders[0], output, overwrite=overwrite)
    start_jax(read_config(folders[0]).model, options.compilation_cache)
    runs = [load(folder, options.checkpoint) for folder in folders]
    if options.compare is None:
        path = runs[0].report(
            output,
            options.split,
            images=options.images,
            thumbnails=options.thumbnails,
            overwrite=overwrite,
        )
    else:
        path = write_comparison(runs, output, options.split, overwrite=overwrite)
    say(f"{path}  {size_text(path.stat().st_size)}", "open it in any browser; it needs no network")
    return 0
