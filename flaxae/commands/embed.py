"""The command `embed`."""

from dataclasses import dataclass

from flaxae.commands.options import RunOptions
from flaxae.errors import PathText, require
from flaxae.training import ProcessesConfig


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions, ProcessesConfig):
    """Write a split's embedding for TensorBoard, the projector page and Parquet readers."""

    limit: int | None = None
    """Only the first so many images of the split, from 2 on (none: all of them)."""
    output_dir: PathText | None = None
    """Folder to write; an earlier export there is replaced (none: <workdir>/embedding)."""
    overwrite: bool = False
    """Replace also files of an export's names that flaxae has not written."""

    def check(self) -> None:
        super().check()
        if self.limit is not None:
            require(self.limit >= 2, "--limit", self.limit, "2 or more: viewers refuse one point")


def run(options: Options) -> int:
    """Writes the files and prints how to open them."""
    import time
    from pathlib import Path

    from flaxae.commands.opened import open_for
    from flaxae.data import is_path
    from flaxae.export.outputs import require_outside
    from flaxae.export.viewers import viewer_steps
    from flaxae.report.terminal import say

    trained = open_for(options)
    start = time.perf_counter()
    folder = Path(options.output_dir or f"{options.workdir}/embedding").expanduser().absolute()
    dataset = trained.config.data.dataset
    require_outside(folder, options.images, dataset if is_path(dataset) else None)
    exported = trained.export_embedding(
        folder,
        options.split,
        images=options.images,
        limit=options.limit,
        overwrite=options.overwrite,
    )
    say(
        f"{options.title}, after epoch {trained.epoch}: {exported.points:,} points of "
        f"{exported.dimensions} dimensions; written in {time.perf_counter() - start:.1f} s"
    )
    for remark in exported.remarks:
        say(f"note: {remark}")
    say(f"everything is in {exported.folder}")
    say(*viewer_steps(exported.folder, exported.logdir).splitlines())
    return 0
