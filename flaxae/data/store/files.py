"""The files of an entry: its images, a record for each row, checksums and a description."""

import contextlib
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from flaxae.data.store.images import ImageFile, checksums
from flaxae.data.store.plan import Entry, Plan

VERSION = 2
DESCRIPTION = "description.json"
MARKER = "made-by-flaxae"  # without it, a folder is no entry and never deleted
IMAGES, TARGETS, ROWS = "images.u8", "targets.u8", "rows.npy"
RECORD = np.dtype(
    [
        ("hash", "<u8"),
        ("target_hash", "<u8"),
        ("identity", "<u8"),
        ("label", "<i4"),
        ("state", "u1"),
        ("check", "<u8"),  # of the fields before, so that a damaged record is not gone on with
    ]
)
TODO, GOOD, BAD = 0, 1, 2
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    OverflowError,
    RecursionError,
    MemoryError,
)
_MOST_DESCRIPTION = 2**30  # bytes
_MULTIPLIERS = np.array(  # odd, so that every bit of a field counts
    [
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
    ],
    np.uint64,
)


def find(root: Path, name: str, fingerprint: str) -> Entry | None:
    """The entry, or None where it is absent, of other images, or damaged."""
    folder = root / name
    try:
        description = read_description(folder)
        if description["fingerprint"] != fingerprint:
            return None
        return read(folder, description)
    except UNREADABLE:
        return None


def record_checks(records: np.ndarray) -> UInt64[np.ndarray, " rows"]:
    """A number for each record that changes if one of its other fields does."""
    total = np.zeros(len(records), np.uint64)
    fields = [records[name] for name in ("state", "hash", "target_hash", "identity", "label")]
    for values, multiplier in zip(fields, _MULTIPLIERS, strict=True):
        total = (total + values.astype(np.uint64)) * multiplier
        total ^= total >> np.uint64(32)
    return total


def describe(scratch: Path, plan: Plan, records: Any, of_images: np.ndarray | None) -> None:
    """Writes the checksums and what is known of the entry.

    `of_images` are the checksums of the images, if they are known.
    """
    todo = int((records["state"] == TODO).sum())
    assert not todo, f"the decoder of {plan.source} left out {todo} images"
    shape = (plan.rows, *plan.image_shape)
    where = {IMAGES: plan.in_place or (scratch / IMAGES, 0), TARGETS: (scratch / TARGETS, 0)}
    for name in [IMAGES, TARGETS] if plan.has_targets else [IMAGES]:
        path, offset = where[name]
        sums = of_images if name == IMAGES else None
        if sums is None:
            sums = checksums(path, shape, offset)
        np.save(scratch / f"{name}.crc.npy", sums)
    notes: Counter[str] = Counter()
    bad: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in (scratch / "remarks.jsonl").read_text().splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill or a full disk cut short
                remark = json.loads(line)
                notes.update(remark["notes"])
                bad |= remark["bad"]
    description = {
        "version": VERSION,
        "fingerprint": plan.fingerprint,
        "source": plan.source,
        "shape": shape,
        "targets": plan.has_targets,
        "in_place": [str(plan.in_place[0]), plan.in_place[1]] if plan.in_place else None,
        "files": {path.name: _fact(path) for path in sorted(scratch.glob("*.npy"))},
        "bad": {
            str(row): bad.get(str(row), "cannot be decoded")
            for row in np.flatnonzero(records["state"] == BAD).tolist()
        },
        "notes": notes,
        "facts": dict(plan.facts),
    }
    description["sha256"] = _description_sha256(description)
    (scratch / DESCRIPTION).write_text(json.dumps(description))


def read_description(folder: Path) -> dict[str, Any]:
    """The description of an entry; raises one of UNREADABLE if it is damaged, or of a version."""
    path = folder / DESCRIPTION
    if not path.is_file() or path.stat().st_size > _MOST_DESCRIPTION:
        raise ValueError(f"{path} is no description")
    description = json.loads(path.read_text())
    if description["version"] != VERSION:
        raise ValueError(f"{path} is of another version")
    if description["sha256"] != _description_sha256(description):
        raise ValueError(f"{path} is damaged")
    return description


def _description_sha256(description: dict[str, Any]) -> str:
    others = {name: value for name, value in description.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _fact(path: Path) -> list[int | str]:
    """The size and sha256 of a file."""
    with open(path, "rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def _load(folder: Path, name: str, description: dict[str, Any]) -> np.ndarray:
    """An array of the entry, of which every byte is checked, the header's too."""
    path, expected = folder / name, description["files"][name]
    # The size first: a pipe would block, and a large file would take long.
    if not path.is_file() or path.stat().st_size != expected[0] or _fact(path) != expected:
        raise ValueError(f"{path} is damaged")
    return np.load(path)


def read(folder: Path, description: dict[str, Any]) -> Entry:
    """The entry in a folder; raises one of UNREADABLE if something is damaged."""
    shape = tuple(description["shape"])
    records = _load(folder, ROWS, description)
    given = description["in_place"]
    path, offset = (Path(given[0]), given[1]) if given else (folder / IMAGES, 0)
    images = ImageFile(folder, path, shape, offset, _load(folder, f"{IMAGES}.crc.npy", description))
    targets = None
    if description["targets"]:
        sums = _load(folder, f"{TARGETS}.crc.npy", description)
        targets = ImageFile(folder, folder / TARGETS, shape, 0, sums)
    bad = {int(row): why for row, why in description["bad"].items()}
    return Entry(
        folder,
        images,
        targets,
        np.ascontiguousarray(records["label"]),
        np.ascontiguousarray(records["hash"]),
        np.ascontiguousarray(records["target_hash"]),
        records["state"] == GOOD,
        bad,
        description["notes"],
        description["facts"],
        fresh=False,
    )
