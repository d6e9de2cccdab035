"""Where the store lies, what is in it, and how to delete from it."""

import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from flaxae.data import DataConfig
from flaxae.data.file_names import counted, printable
from flaxae.data.sizes import size_text
from flaxae.data.store.build import OLD, OTHER, PARTIAL, build, is_locked
from flaxae.data.store.files import MARKER, UNREADABLE, find, read_description
from flaxae.data.store.plan import Entry, Plan
from flaxae.data.store.rows import Progress
from flaxae.errors import absolute_path

logger = logging.getLogger("flaxae.data")
# Shows the progress of a build; nothing is shown unless a command sets it.
Display = Callable[[str], AbstractContextManager[Progress]]
display: ContextVar[Display | None] = ContextVar("display", default=None)


class Kept(NamedTuple):
    """An entry of the store, for people."""

    name: str
    source: str  # where its images came from; "?" if its description cannot be read
    shape: tuple[int, ...]
    size: int  # bytes on disk
    state: str  # "complete", "being written", "interrupted", "damaged", or "source gone"


def store_root(config: DataConfig) -> Path:
    """The store's folder: --store-dir, else $FLAXAE_STORE_DIR, else in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = config.store_dir or os.environ.get("FLAXAE_STORE_DIR") or f"{cache}/flaxae/images"
    return absolute_path(name, "--store-dir")


def entry_name(title: str, *identity: str) -> str:
    """The folder of an entry: a readable word, and a hash of what identifies it."""
    word = re.sub(r"[^A-Za-z0-9_-]+", "_", title)[:40] or "images"
    text = "\0".join(identity).encode("utf-8", "surrogateescape")
    return f"{word}-{hashlib.sha256(text).hexdigest()[:12]}"


def build_shown(root: Path, plan: Plan) -> Entry:
    """`build`, with its progress where a command shows it, and a line on where the entry lies."""
    known = find(root, plan.name, plan.fingerprint)
    if known is not None:
        return known
    show = display.get()
    with show(f"decoding {plan.rows:,} images") if show else contextlib.nullcontext() as progress:
        entry = build(root, plan, *([progress] if progress else []))
    count = int(entry.good.sum())
    logger.info(
        "%s of %s %s in the store: %s, %s",
        counted(count, "image"),
        printable(plan.source),
        "is" if count == 1 else "are",
        printable(entry.folder),
        size_text(folder_size(entry.folder)),
    )
    return entry


def kept(root: Path) -> list[Kept]:
    """All entries, by name; other folders are not looked at."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [_kept(f) for f in folders if (f / MARKER).is_file() and not f.is_symlink()]


def prune(root: Path, names: list[str]) -> list[Kept]:
    """Deletes the entries of these names, or without names those that no source needs any more.

    A process that reads a deleted entry keeps it until it ends.
    """
    if names:
        gone = [entry for entry in kept(root) if entry.name in names]
    else:
        gone = [e for e in kept(root) if e.state not in ("complete", "being written")]
    for entry in gone:
        shutil.rmtree(root / entry.name, ignore_errors=True)
    return [entry for entry in gone if not (root / entry.name).exists()]


def folder_size(folder: Path) -> int:
    """Bytes that the files of a folder take on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())


def _kept(folder: Path) -> Kept:
    size = folder_size(folder)
    if folder.name.endswith((PARTIAL, OTHER, OLD)):
        state = "being written" if is_locked(folder) else "interrupted"
        return Kept(folder.name, "?", (), size, state)
    try:
        description = read_description(folder)
        source, shape = str(description["source"]), tuple(description["shape"])
    except UNREADABLE:
        return Kept(folder.name, "?", (), size, "damaged")
    state = "complete" if Path(source).exists() else "source gone"
    return Kept(folder.name, source, shape, size, state)
