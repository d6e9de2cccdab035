"""A folder of images: sub-folders are classes, and train/, validation/ and test/ are splits."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from flaxae.data import DataConfig
from flaxae.data.decoding import BadImage, Decoded, Decoding, decode, probe
from flaxae.data.file_names import printable
from flaxae.data.sources.listing import Listing, list_folder
from flaxae.data.sources.pairs import pair_targets
from flaxae.data.sources.stored import Contents, StoredSource, tell_notes
from flaxae.data.splits import Shape
from flaxae.data.store.entries import build_shown, entry_name, store_root
from flaxae.data.store.plan import Chunk, Entry, Plan
from flaxae.errors import InputError

logger = logging.getLogger("flaxae.data")
_CHUNK_BYTES = 2**23  # decoded at a time
_PROBED = 256  # files whose headers are read to learn the size and the channels


def source(config: DataConfig) -> StoredSource:
    """The folder that `config` names."""
    return StoredSource(config, open_folder)


def open_folder(config: DataConfig) -> Contents:
    """The images below a folder.

    Raises:
        InputError: the folder holds no images, of different sizes, or too many that cannot be
            read.
    """
    labels = Path(config.labels) if config.labels else None
    return open_listed(config, list_folder(Path(config.dataset), labels))


def open_listed(config: DataConfig, listing: Listing) -> Contents:
    """The listed images; raises InputError as `open_folder`."""
    entry = open_entry(config, listing)
    if not entry.good.any():
        raise InputError(f"{printable(listing.source)} holds no image that can be read")
    return Contents(entry, listing.splits, listing.labels, listing.class_names, listing.files)


def open_entry(config: DataConfig, listing: Listing) -> Entry:
    """The listed files in the store, decoded now if they are not there.

    Raises:
        InputError: too many of them cannot be read.
    """
    for remark in listing.remarks:
        logger.warning("%s", remark)
    paths = [os.path.join(listing.root, name) for name in listing.files]
    targets: list[str] | None = None
    stats = [listing.stats]
    if config.targets is not None:
        other = list_folder(Path(config.targets))
        pairs = pair_targets(listing, other)
        targets = [os.path.join(other.root, name) for name in pairs]
        row_of = {name: row for row, name in enumerate(other.files)}
        stats.append(other.stats[[row_of[name] for name in pairs]])
    how, shape, pattern = _decoding(config, paths)
    identities = _identities(listing.files, np.concatenate(stats, axis=1))
    options = repr((how, shape, config.targets))
    plan = Plan(
        name=entry_name(listing.source.name, str(listing.source), options),
        source=str(listing.source),
        fingerprint=hashlib.sha256(options.encode() + identities.tobytes()).hexdigest(),
        rows=len(paths),
        image_shape=shape,
        decode=lambda rows: _chunks(
            rows, paths, targets, how, (shape, pattern), config.channels is None
        ),
        identities=identities,
        has_targets=targets is not None,
    )
    entry = build_shown(store_root(config), plan)
    _report_bad(config, listing, entry)
    tell_notes(config, entry)
    return entry


def _decoding(config: DataConfig, paths: Sequence[str]) -> tuple[Decoding, Shape, str]:
    """How the files become pixels, the shape that all of them get, and a file of that shape."""
    size = config.image_size
    how = Decoding(
        image_size=None if size is None else (size[0], size[1]),
        channels=config.channels,
        fit=config.fit,
        background=(config.background[0], config.background[1], config.background[2]),
        value_range=None if config.range is None else (config.range[0], config.range[1]),
    )
    shapes: dict[Shape, str] = {}
    for path in _spread(paths):
        try:
            shapes.setdefault(probe(Path(path), how.most_pixels), path)
        except BadImage:
            continue  # which decoding counts
    if not shapes:
        raise InputError(
            f"{printable(paths[0])} and other files hold no image that can be read; expected PNG, "
            "JPEG, WebP, BMP, TIFF or GIF"
        )
    channels = config.channels or max(found[2] for found in shapes)
    if how.image_size is None:
        sizes = {found[:2]: path for found, path in shapes.items()}
        if len(sizes) > 1:
            _refuse_sizes(*list(sizes.items())[:2])
    first, pattern = next(iter(shapes.items()))
    height, width = how.image_size or first[:2]
    return how._replace(channels=channels), (height, width, channels), pattern


def _spread(paths: Sequence[str]) -> list[str]:
    """At most `_PROBED` of the paths, spread evenly."""
    places = np.unique(np.linspace(0, len(paths) - 1, _PROBED).astype(int))
    return [paths[int(place)] for place in places]


def _refuse_sizes(one: tuple[Sequence[int], str], other: tuple[Sequence[int], str]) -> None:
    texts = [f"{printable(path)} has {size[0]}x{size[1]}" for size, path in (one, other)]
    raise InputError(
        f"the images have different sizes: {' and '.join(texts)} (height x width); give "
        "--image-size HEIGHT WIDTH to resize them"
    )


def _identities(files: Sequence[str], stats: np.ndarray) -> np.ndarray:
    """A number for each file, of its name, sizes and times."""
    digests = b"".join(
        hashlib.blake2b(
            name.encode("utf-8", "surrogateescape") + b"\0" + row.tobytes(), digest_size=8
        ).digest()
        for name, row in zip(files, stats, strict=True)
    )
    return np.frombuffer(digests, np.uint64)


def _chunks(
    rows: np.ndarray,
    paths: Sequence[str],
    targets: Sequence[str] | None,
    how: Decoding,
    expected: tuple[Shape, str],
    guessed: bool,
) -> Iterator[Chunk]:
    """Decodes the files of these rows in threads, a bounded number at a time.

    `expected` is the shape that all of them must get, and a file that has it.
    `guessed` says that the number of channels was learned from some of the files only.
    """
    shape = expected[0]
    size = max(_CHUNK_BYTES // int(np.prod(shape)), 1)

    def one(path: str) -> Decoded | str:
        try:
            if guessed and how.channels == 1 and probe(Path(path), how.most_pixels)[2] == 3:
                raise InputError(
                    f"{printable(path)} is in color, and files that were looked at before are "
                    "gray; give --channels 3, or --channels 1 to make all of them gray"
                )
            found = decode(Path(path), how)
        except BadImage as error:
            return str(error)
        if found.pixels.shape != shape:
            _refuse_sizes(expected, (found.pixels.shape, path))
        return found

    with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
        try:
            for first in range(0, len(rows), size):
                part = rows[first : first + size].tolist()
                images = list(pool.map(one, [paths[row] for row in part]))
                wanted = None
                if targets is not None:
                    wanted = list(pool.map(one, [targets[row] for row in part]))
                yield _chunk(images, wanted, shape)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _chunk(
    images: Sequence[Decoded | str], targets: Sequence[Decoded | str] | None, shape: Shape
) -> Chunk:
    bad = {place: found for place, found in enumerate(images) if isinstance(found, str)}
    for place, found in enumerate(targets or ()):
        if isinstance(found, str):
            bad.setdefault(place, f"its target: {found}")
    notes = Counter(note for each in images if isinstance(each, Decoded) for note in each.notes)
    pixels = [None if found is None else _stack(found, shape) for found in (images, targets)]
    assert pixels[0] is not None
    return Chunk(pixels[0], pixels[1], None, bad, notes)


def _stack(found: Sequence[Decoded | str], shape: Shape) -> np.ndarray:
    black = np.zeros(shape, np.uint8)
    return np.stack([black if isinstance(each, str) else each.pixels for each in found])


def _report_bad(config: DataConfig, listing: Listing, entry: Entry) -> None:
    if not entry.bad:
        return
    texts = [f"{printable(listing.files[row])} ({why})" for row, why in entry.bad.items()]
    shown = "; ".join(texts[:3]) + ("; ..." if len(texts) > 3 else "")
    what = f"{len(texts)} of {len(listing.files)} files hold no image that can be read: {shown}"
    if len(texts) > config.bad_files * len(listing.files):
        raise InputError(
            f"{what}; remove them, or give a larger share than --bad-files {config.bad_files:g}"
        )
    logger.warning("%s; they are left out", what)
