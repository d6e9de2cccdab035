"""The command `data`."""

from dataclasses import dataclass

from flaxae.errors import InputError, PathText, require
from flaxae.errors import Options as CheckedOptions


@dataclass(frozen=True, kw_only=True)
class Options(CheckedOptions):
    """List or delete the decoded images that are kept in the store."""

    list: bool = False
    """Print every entry: its name, its images, its size and where they come from."""
    prune: tuple[str, ...] | None = None
    """Delete the entries of these names (without a name: those that nothing needs any more)."""
    store_dir: PathText | None = None
    """Folder of decoded images (none: $FLAXAE_STORE_DIR, else ~/.cache/flaxae/images)."""

    def check(self) -> None:
        one = self.list != (self.prune is not None)
        came = "both" if self.list else "neither --list nor --prune"
        require(one, "data", came, "one of --list and --prune")


def run(options: Options) -> int:
    """Prints a table of the store, or what was deleted."""
    from flaxae.data import DataConfig
    from flaxae.data.sizes import size_text
    from flaxae.data.store.entries import kept, prune, store_root
    from flaxae.report.terminal import say, show_table

    root = store_root(DataConfig(store_dir=options.store_dir))
    if options.prune is None:
        entries = kept(root)
    else:
        unknown = set(options.prune) - {entry.name for entry in kept(root)}
        if unknown:
            raise InputError(
                f"the store {root} has no entry {sorted(unknown)[0]!r}; see data --list"
            )
        entries = prune(root, [*options.prune])
    rows = [
        (
            entry.name,
            "x".join(map(str, entry.shape)),
            size_text(entry.size),
            entry.state,
            entry.source,
        )
        for entry in entries
    ]
    show_table("", ("entry", "images", "size", "state", "source"), rows)
    word = "kept" if options.prune is None else "deleted"
    say(f"{word}: {len(rows)} in {root}, {size_text(sum(entry.size for entry in entries))}")
    return 0
